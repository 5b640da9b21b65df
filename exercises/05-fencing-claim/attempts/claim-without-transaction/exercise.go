// Package exercise is a wrong attempt at exercise 5. The claim is a transaction of its own, so its row lock ends before
// the read.
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

// Sell claims the row, reads and writes, each by itself.
func Sell(ctx context.Context, db *gorm.DB, sku string, qty int, lease Lease) error {
	db = db.WithContext(ctx)
	claim := db.Model(&Stock{}).Where("sku = ? AND fence < ?", sku, lease.Token()).Update("fence", lease.Token())
	if claim.Error != nil {
		return claim.Error
	}
	if claim.RowsAffected == 0 {
		return ErrStale
	}
	var s Stock
	if err := db.Take(&s, "sku = ?", sku).Error; err != nil {
		return err
	}
	if s.Available < qty {
		return ErrOutOfStock
	}
	return db.Model(&s).Update("available", s.Available-qty).Error
}
