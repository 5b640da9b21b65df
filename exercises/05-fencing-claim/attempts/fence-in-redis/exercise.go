// Package exercise is a wrong attempt at exercise 5. Redis is asked before the write, and the row remembers nothing.
package exercise

import (
	"context"
	"errors"

	"gorm.io/gorm"
)

// Why a sale is refused.
var (
	ErrOutOfStock = errors.New("stock: out of stock")
	ErrStale      = errors.New("stock: fencing token is stale")
)

// Lease is the lock that the caller has taken on the product.
type Lease interface {
	Token() int64
	Held(ctx context.Context) (bool, error)
}

// Stock is a row of the table stock.
type Stock struct {
	SKU       string `gorm:"column:sku;primaryKey"`
	Available int
	Fence     int64 // the highest token that the row has seen
}

// TableName returns the name of the table.
func (Stock) TableName() string { return "stock" }

// Sell reads, asks whether the lock is still held, and writes.
func Sell(ctx context.Context, db *gorm.DB, sku string, qty int, lease Lease) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var s Stock
		if err := tx.Take(&s, "sku = ?", sku).Error; err != nil {
			return err
		}
		if s.Available < qty {
			return ErrOutOfStock
		}
		held, err := lease.Held(ctx)
		if err != nil {
			return err
		}
		if !held {
			return ErrStale
		}
		return tx.Model(&s).Update("available", s.Available-qty).Error
	})
}
