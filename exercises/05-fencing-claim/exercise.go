// Package exercise is exercise 5: the fencing claim. The task is in task.md.
//
// The caller holds a lock in Redis on the product. A lock in Redis is a lease: it may have ended when the code below
// continues, and the next holder may be at work. So the row has to refuse a holder that is too late.
package exercise

import (
	"context"
	"errors"

	"gorm.io/gorm"
)

// Why a sale is refused. The check asks for these errors with errors.Is.
var (
	ErrOutOfStock = errors.New("stock: out of stock")
	ErrStale      = errors.New("stock: fencing token is stale")
)

// Lease is the lock that the caller has taken on the product.
type Lease interface {
	// Token is the fencing token: a number that is higher than that of every lease before. 0 is no token.
	Token() int64
	// Held asks Redis whether the lock is still this lease's, at the moment of the question.
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

// Sell takes qty units of the product from the stock, under the caller's lease. It returns
//
//	ErrStale if the row has seen this token already or a newer one; nothing is sold then;
//	ErrOutOfStock if there are fewer than qty units.
//
// This one reads, subtracts and writes, and relies on the lock alone.
func Sell(ctx context.Context, db *gorm.DB, sku string, qty int, lease Lease) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var s Stock
		if err := tx.Take(&s, "sku = ?", sku).Error; err != nil {
			return err
		}
		if s.Available < qty {
			return ErrOutOfStock
		}
		return tx.Model(&s).Update("available", s.Available-qty).Error
	})
}
