package store

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

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
