package store

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/statement"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// ErrInRedis is a SKU whose units are on their way out of Redis, see SetLayout.
var ErrInRedis = errors.New("the units are in Redis")

// beginMove closes a SKU that leaves Redis. The number of its opening grows: whoever opens it in Redis has read the stock row
// under its lock, and with an older number has read it before this.
func beginMove(tx *gorm.DB, sku string, to Shape) error {
	err := tx.Exec("UPDATE stock SET layout = ?, moves_to = ?, moves_to_buckets = ?, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?",
		stock.LayoutMoving, to.Layout, to.Buckets, sku).Error
	if err != nil {
		return fmt.Errorf("close %s: %w", sku, err)
	}
	if err := tx.Exec("UPDATE stock_redis SET opening = opening + 1 WHERE sku = ?", sku).Error; err != nil {
		return fmt.Errorf("close %s: %w", sku, err)
	}
	return nil
}

// EndMove gives a SKU that left Redis its new layout, once all its free units are back. Another SKU is done already.
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
		var left []int64
		if err := tx.Raw("SELECT available FROM stock_redis WHERE sku = ? FOR UPDATE", sku).Scan(&left).Error; err != nil {
			return fmt.Errorf("lock the row of Redis: %w", err)
		}
		if len(left) != 1 || left[0] != 0 {
			return nil
		}
		done = true
		return arrange(tx, sku, now, Shape{Layout: now.MovesTo, Buckets: now.MovesToBuckets})
	})
	if err != nil {
		return false, notExecuted(ctx, fmt.Errorf("end the move of %s: %w", sku, err))
	}
	return done, nil
}

// Moving returns the SKUs that are on their way out of Redis.
func (s *Store) Moving(ctx context.Context) ([]string, error) {
	var skus []string
	if err := s.db.WithContext(ctx).Raw("SELECT sku FROM stock WHERE layout = ? ORDER BY sku", stock.LayoutMoving).Scan(&skus).Error; err != nil {
		return nil, database.Fault(fmt.Errorf("look for moves: %w", err))
	}
	return skus, nil
}

// RedisRow returns one SKU's row, or stock.ErrUnknownSKU.
func (s *Store) RedisRow(ctx context.Context, sku string) (RedisRow, error) {
	var rows []RedisRow
	if err := s.db.WithContext(ctx).Raw(selectRedisRows+" WHERE r.sku = ?", sku).Scan(&rows).Error; err != nil {
		return RedisRow{}, database.Fault(fmt.Errorf("read the row of Redis: %w", err))
	}
	if len(rows) == 0 {
		return RedisRow{}, stock.UnknownSKU(sku)
	}
	return rows[0], nil
}

// room is a stock row as the gate sees it.
type room struct {
	SKU       string
	Layout    string
	Available int64
}

// AtGate calls decide while the stock rows of the SKUs are locked, so that neither a delivery nor a change of layout can come in
// between, and the store rooms of those in Redis are empty: what was in them has been laid out. decide gets the rows of the SKUs
// that are in Redis, and for each other SKU the reason why it is not. It may be called several times, and what it learnt
// counts when AtGate returns nil.
func (l *Ledger) AtGate(ctx context.Context, skus []string, decide func(inRedis map[string]RedisRow, refused map[string]error) error) error {
	skus = statement.SortUnique(skus)
	for decided := false; !decided; {
		err := database.InTx(ctx, l.db, func(tx *gorm.DB) error {
			decided = false
			refused, filled, err := lockGate(tx, skus)
			if err != nil {
				return err
			}
			for _, r := range filled {
				if err := layOut(tx, r); err != nil {
					return err
				}
			}
			if len(filled) > 0 {
				return nil // they count when this is committed, and not before
			}
			var rows []RedisRow
			if err := tx.Raw(selectRedisRows+" WHERE r.sku IN ?", skus).Scan(&rows).Error; err != nil {
				return fmt.Errorf("read the rows of Redis: %w", err)
			}
			inRedis := make(map[string]RedisRow, len(rows))
			for _, r := range rows {
				if refused[r.SKU] == nil {
					inRedis[r.SKU] = r
				}
			}
			decided = true
			return decide(inRedis, refused)
		})
		if err != nil {
			return notExecuted(ctx, err)
		}
	}
	return nil
}

// lockGate locks the stock rows, in SKU order, and returns which SKUs are not in Redis and whose store rooms hold something.
func lockGate(tx *gorm.DB, skus []string) (refused map[string]error, filled []room, err error) {
	var rooms []room
	err = tx.Raw("SELECT sku, layout, available FROM stock FORCE INDEX (PRIMARY) WHERE sku IN ? ORDER BY sku FOR UPDATE", skus).Scan(&rooms).Error
	if err != nil {
		return nil, nil, fmt.Errorf("lock the gates: %w", err)
	}
	refused = make(map[string]error)
	for _, sku := range skus {
		switch {
		case len(rooms) == 0 || rooms[0].SKU != sku:
			refused[sku] = stock.UnknownSKU(sku)
			continue
		case rooms[0].Layout != stock.LayoutRedis:
			refused[sku] = stock.WrongLayout(sku, rooms[0].Layout)
		case rooms[0].Available > 0:
			filled = append(filled, rooms[0])
		}
		rooms = rooms[1:]
	}
	return refused, filled, nil
}

// layOut moves all that the store room has to the SKU's row of Redis.
func layOut(tx *gorm.DB, r room) error {
	err := tx.Exec("UPDATE stock SET available = 0, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?", r.SKU).Error
	if err != nil {
		return fmt.Errorf("empty the store room of %s: %w", r.SKU, err)
	}
	res := tx.Exec("UPDATE stock_redis SET laid = laid + ?, available = available + ?, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?",
		r.Available, r.Available, r.SKU)
	if res.Error != nil {
		return fmt.Errorf("lay out %d units of %s: %w", r.Available, r.SKU, res.Error)
	}
	if res.RowsAffected != 1 {
		return fmt.Errorf("%w: %s has the layout %s and no row for it", stock.ErrInconsistent, r.SKU, stock.LayoutRedis)
	}
	return nil
}
