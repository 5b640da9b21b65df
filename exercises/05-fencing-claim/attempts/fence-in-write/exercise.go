// Package exercise is a wrong attempt at exercise 5. The token is compared when the row is written, and not before it
// is read.
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

// Sell reads, and has the write compare the token.
func Sell(ctx context.Context, db *gorm.DB, sku string, qty int, lease Lease) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var s Stock
		if err := tx.Take(&s, "sku = ?", sku).Error; err != nil {
			return err
		}
		if s.Available < qty {
			return ErrOutOfStock
		}
		write := tx.Model(&Stock{}).Where("sku = ? AND fence < ?", sku, lease.Token()).
			Updates(map[string]any{"available": s.Available - qty, "fence": lease.Token()})
		if write.Error == nil && write.RowsAffected == 0 {
			return ErrStale
		}
		return write.Error
	})
}
