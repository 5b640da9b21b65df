package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/statement"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// Shape says how a SKU's stock is to be stored.
type Shape struct {
	Layout  string // stock.LayoutRow and so on
	Buckets int    // for stock.LayoutBuckets: over how many rows; 0 is stock.DefaultBuckets
}

// place is a stock row as a change of layout sees it.
type place struct {
	Layout    string
	Available int64
	Places    int64

	MovesTo        string
	MovesToBuckets int
}

// SetLayout stores a SKU's stock in another way, while it is being sold, and returns the product. Buckets that are
// buckets already are dealt out anew, over another number of them if that is asked for. stock.ErrUnknownSKU,
// stock.ErrInvalidLayout. After an unknown outcome it may be called again: twice is as good as once.
//
// ErrInRedis: the SKU leaves Redis. It is closed now, its layout is stock.LayoutMoving, and when its units are back EndMove does
// the rest.
//
// It is one transaction that holds the stock row's lock, the gate: whoever wants to refuse an order, or to put units into a
// place, takes it first and reads the layout under it. So an order that races the change is told that the layout is
// another, and never that an empty old place is sold out.
//
// Only free units move out of the stock row. What open orders hold there stays there, and so does what was sold: confirm and
// release find an order's units where its allocation says, and on the stock row if there is none.
func (s *Store) SetLayout(ctx context.Context, sku string, to Shape) (Product, error) {
	if err := checkShape(sku, &to); err != nil {
		return Product{}, err
	}
	var out Product
	var moving bool
	err := database.InTx(ctx, s.db, func(tx *gorm.DB) (err error) {
		if moving, err = setLayout(tx, sku, to); err != nil {
			return err
		}
		out, err = readProduct(tx, sku)
		return err
	})
	if err != nil {
		return Product{}, notExecuted(ctx, fmt.Errorf("set the layout of %s: %w", sku, err))
	}
	if moving {
		return out, ErrInRedis
	}
	return out, nil
}

func checkShape(sku string, to *Shape) error {
	switch {
	case !stock.ValidSKU(sku):
		return stock.UnknownSKU(sku)
	case !slices.Contains(layouts(), to.Layout):
		return stock.ErrInvalidLayout.WithText("a layout is one of %s", strings.Join(layouts(), ", "))
	case to.Layout != stock.LayoutBuckets && to.Buckets != 0:
		return stock.ErrInvalidLayout.WithText("only the layout %s has buckets", stock.LayoutBuckets)
	case to.Buckets < 0 || to.Buckets > stock.MaxBuckets:
		return stock.ErrInvalidLayout.WithText("there are 1 to %d buckets", stock.MaxBuckets)
	}
	if to.Layout == stock.LayoutBuckets && to.Buckets == 0 {
		to.Buckets = stock.DefaultBuckets
	}
	return nil
}

func layouts() []string {
	return []string{stock.LayoutRow, stock.LayoutBuckets, stock.LayoutUnits, stock.LayoutRedis}
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

// setLayout reports whether the SKU has to be brought out of Redis first.
func setLayout(tx *gorm.DB, sku string, to Shape) (moving bool, err error) {
	now, err := lockPlace(tx, sku)
	if err != nil {
		return false, err
	}
	if now.Layout == stock.LayoutMoving || now.Layout == stock.LayoutRedis && to.Layout != stock.LayoutRedis {
		return true, beginMove(tx, sku, to)
	}
	if now.Layout == to.Layout && to.Layout != stock.LayoutBuckets {
		return false, nil
	}
	return false, arrange(tx, sku, now, to)
}

// arrange stores the units in their new places. The caller holds the gate.
func arrange(tx *gorm.DB, sku string, now place, to Shape) error {
	back, err := collect(tx, sku, now.Layout)
	if err != nil {
		return err
	}
	available, places := now.Available+back.Available, now.Places
	if to.Layout == stock.LayoutBuckets {
		if err := dealOut(tx, sku, places, available, int64(to.Buckets)); err != nil {
			return err
		}
		available, places = 0, places+int64(to.Buckets)
	}
	if to.Layout == stock.LayoutRedis {
		if err := tx.Exec("INSERT INTO stock_redis (sku) VALUES (?) ON DUPLICATE KEY UPDATE sku = sku", sku).Error; err != nil {
			return fmt.Errorf("insert the row of Redis: %w", err)
		}
	}
	// The version grows, so that an optimistic writer who read the row before this learns of it.
	err = tx.Exec(`UPDATE stock SET layout = ?, available = ?, reserved = reserved + ?, sold = sold + ?, places = ?,
		version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?`, to.Layout, available, back.Reserved, back.Sold, places, sku).Error
	if err != nil {
		return fmt.Errorf("write the stock row: %w", err)
	}
	return nil
}

// gathered is what came back from a SKU's places.
type gathered struct{ Available, Reserved, Sold int64 }

// collect empties the places of a layout for the stock row. The caller holds the gate.
func collect(tx *gorm.DB, sku, from string) (gathered, error) {
	switch from {
	case stock.LayoutBuckets:
		return collectBuckets(tx, sku)
	case stock.LayoutUnits:
		return collectUnits(tx, sku)
	}
	return gathered{}, nil
}

// collectBuckets takes all counters back and ends the allocations: from now on the units of open orders are reserved on the
// stock row. Every write of an allocation is made under the lock of its bucket, so none can be missed.
func collectBuckets(tx *gorm.DB, sku string) (gathered, error) {
	var buckets []gathered
	err := tx.Raw("SELECT available, reserved, sold FROM stock_buckets FORCE INDEX (PRIMARY) WHERE sku = ? ORDER BY bucket FOR UPDATE", sku).
		Scan(&buckets).Error
	if err != nil {
		return gathered{}, fmt.Errorf("lock the buckets: %w", err)
	}
	for _, table := range []string{"reservation_allocations", "stock_buckets"} {
		if err := tx.Exec("DELETE FROM "+table+" WHERE sku = ?", sku).Error; err != nil {
			return gathered{}, fmt.Errorf("empty %s: %w", table, err)
		}
	}
	var sum gathered
	for _, b := range buckets {
		sum.Available += b.Available
		sum.Reserved += b.Reserved
		sum.Sold += b.Sold
	}
	return sum, nil
}

// collectUnits removes the free units, waiting for the orders that are taking some of them. Units that name an order stay: they
// are sold, or sold or released by their order.
func collectUnits(tx *gorm.DB, sku string) (gathered, error) {
	res := tx.Exec("DELETE u FROM stock_units AS u FORCE INDEX (stock_units_order) WHERE u.sku = ? AND u.order_no IS NULL", sku)
	if res.Error != nil {
		return gathered{}, fmt.Errorf("remove the free units: %w", res.Error)
	}
	return gathered{Available: res.RowsAffected}, nil
}

// dealOut spreads units evenly over new buckets, whose numbers follow after.
func dealOut(tx *gorm.DB, sku string, after, units, buckets int64) error {
	s := statement.New(int(buckets), statement.KeySize, "INSERT INTO stock_buckets (sku, bucket, available) VALUES ")
	for i := range buckets {
		share := units / buckets
		if i < units%buckets {
			share++
		}
		s.Comma(int(i)).Add("(").Text(sku).Add(",").Number(after + i + 1).Add(",").Number(share).Add(")")
	}
	if _, err := s.Exec(tx); err != nil {
		return fmt.Errorf("insert %d buckets: %w", buckets, err)
	}
	return nil
}
