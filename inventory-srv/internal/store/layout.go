package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// ErrMoving is a SKU whose units return to unallocated stock before it gets its new layout, see SetLayout.
var ErrMoving = errors.New("the units are on their way to another layout")

// place is the part of a stock row that a change of layout reads.
type place struct {
	Layout    string
	Available int64
	Places    int64

	MovesTo        string
	MovesToBuckets int
}

// SetLayout stores a SKU's stock in another layout, while it is being sold, and returns the product. Buckets that are
// buckets already are distributed again, over another number of rows if to says so. Errors: stock.ErrUnknownSKU,
// stock.ErrInvalidLayout. After an unknown outcome the caller may repeat the call.
//
// ErrMoving: the SKU leaves a layout.Drainer. It is closed, its layout is stock.LayoutMoving, and EndMove finishes the
// move when its units have returned.
//
// The transaction holds the stock row's lock. A transaction that refuses an order or that adds units to a layout takes
// this lock first and reads the layout under it. An order that races the change is therefore refused for its layout,
// and not as sold out.
//
// Only free units move out of the stock row. Units that are reserved or sold there stay there: confirm and release find
// an order's units by its allocation, and without one on the stock row.
func (s *Store) SetLayout(ctx context.Context, sku string, to layout.Shape) (Product, error) {
	to, err := s.checkShape(sku, to)
	if err != nil {
		return Product{}, err
	}
	var out Product
	var moving bool
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) (err error) {
		if moving, err = s.setLayout(tx, sku, to); err != nil {
			return err
		}
		out, err = s.readProduct(tx, sku)
		return err
	})
	if err != nil {
		return Product{}, notExecuted(ctx, fmt.Errorf("set the layout of %s: %w", sku, err))
	}
	if moving {
		return out, ErrMoving
	}
	return out, nil
}

// checkShape returns to with its defaults.
func (s *Store) checkShape(sku string, to layout.Shape) (layout.Shape, error) {
	if !stock.ValidSKU(sku) {
		return layout.Shape{}, stock.UnknownSKU(sku)
	}
	l := s.layout(to.Layout)
	if l == nil {
		names := make([]string, len(s.layouts))
		for i, l := range s.layouts {
			names[i] = l.Name()
		}
		return layout.Shape{}, stock.ErrInvalidLayout.WithText("a layout is one of %s", strings.Join(names, ", "))
	}
	return l.Check(to)
}

// layout returns the layout of that name, or nil.
func (s *Store) layout(name string) layout.Layout {
	for _, l := range s.layouts {
		if l.Name() == name {
			return l
		}
	}
	return nil
}

// drainers returns the layouts whose units return some time after a SKU was closed.
func (s *Store) drainers() []layout.Drainer {
	var found []layout.Drainer
	for _, l := range s.layouts {
		if d, ok := l.(layout.Drainer); ok {
			found = append(found, d)
		}
	}
	return found
}

func lockPlace(tx *gorm.DB, sku string) (place, error) {
	var found []place
	err := tx.Raw("SELECT layout, available, places, moves_to, moves_to_buckets FROM stock WHERE sku = ? FOR UPDATE", sku).Scan(&found).Error
	if err != nil {
		return place{}, fmt.Errorf("lock the stock row: %w", err)
	}
	if len(found) == 0 {
		return place{}, stock.UnknownSKU(sku)
	}
	return found[0], nil
}

// setLayout reports whether the SKU's units have to return first.
func (s *Store) setLayout(tx *gorm.DB, sku string, to layout.Shape) (moving bool, err error) {
	now, err := lockPlace(tx, sku)
	if err != nil {
		return false, err
	}
	if _, drains := s.layout(now.Layout).(layout.Drainer); now.Layout == stock.LayoutMoving || drains && to.Layout != now.Layout {
		return true, s.beginMove(tx, sku, to)
	}
	if now.Layout == to.Layout && to.Buckets == 0 {
		return false, nil // buckets are distributed again, over another number of them
	}
	return false, s.arrange(tx, sku, now, to)
}

// arrange stores the units in the new layout. The caller holds the stock row's lock.
func (s *Store) arrange(tx *gorm.DB, sku string, now place, to layout.Shape) (err error) {
	var back layout.Counts
	if from := s.layout(now.Layout); from != nil {
		if back, err = from.Collect(tx, sku); err != nil {
			return err
		}
	}
	free := layout.Unallocated{Available: now.Available + back.Available, Places: now.Places}
	if free, err = s.layout(to.Layout).Distribute(tx, sku, free, to); err != nil {
		return err
	}
	// The version grows, so that an optimistic writer that has read the row before notices the change.
	err = tx.Exec(`UPDATE stock SET layout = ?, available = ?, reserved = reserved + ?, sold = sold + ?, places = ?,
		version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?`, to.Layout, free.Available, back.Reserved, back.Sold, free.Places, sku).Error
	if err != nil {
		return fmt.Errorf("write the stock row: %w", err)
	}
	return nil
}

// beginMove closes a SKU whose units return later.
func (s *Store) beginMove(tx *gorm.DB, sku string, to layout.Shape) error {
	err := tx.Exec("UPDATE stock SET layout = ?, moves_to = ?, moves_to_buckets = ?, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?",
		stock.LayoutMoving, to.Layout, to.Buckets, sku).Error
	if err != nil {
		return fmt.Errorf("close %s: %w", sku, err)
	}
	for _, d := range s.drainers() {
		if err := d.Close(tx, sku); err != nil {
			return err
		}
	}
	return nil
}

// EndMove gives a moving SKU its new layout when all its free units have returned. It returns true for a SKU that does
// not move.
func (s *Store) EndMove(ctx context.Context, sku string) (done bool, err error) {
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		done = false
		now, err := lockPlace(tx, sku)
		if err != nil {
			return err
		}
		if now.Layout != stock.LayoutMoving {
			done = true
			return nil
		}
		for _, d := range s.drainers() {
			if drained, err := d.Drained(tx, sku); err != nil || !drained {
				return err
			}
		}
		done = true
		return s.arrange(tx, sku, now, layout.Shape{Layout: now.MovesTo, Buckets: now.MovesToBuckets})
	})
	if err != nil {
		return false, notExecuted(ctx, fmt.Errorf("end the move of %s: %w", sku, err))
	}
	return done, nil
}

// Moving returns the SKUs that are moving.
func (s *Store) Moving(ctx context.Context) ([]string, error) {
	var skus []string
	if err := s.db.WithContext(ctx).Raw("SELECT sku FROM stock WHERE layout = ? ORDER BY sku", stock.LayoutMoving).Scan(&skus).Error; err != nil {
		return nil, database.Fault(fmt.Errorf("look for moves: %w", err))
	}
	return skus, nil
}
