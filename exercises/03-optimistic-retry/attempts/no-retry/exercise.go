// Package exercise is a wrong attempt at exercise 3: it gives up when another order was faster.
package exercise

import (
	"context"
	"errors"

	"gorm.io/gorm"
)

var (
	// ErrOutOfStock is what a buyer gets when there is too little. Nothing was taken then.
	ErrOutOfStock = errors.New("out of stock")
	// ErrContended is what a buyer gets when other orders were faster each time. Nothing was taken, and there may be
	// enough: the buyer may retry.
	ErrContended = errors.New("other orders were faster")
)

type stock struct {
	SKU       string `gorm:"column:sku;primaryKey"`
	Available int
	Version   int
}

// TableName is the name of the table: gorm would look for stocks.
func (stock) TableName() string { return "stock" }

// Reserve takes qty units of the SKU off the table stock (sku, available, version), without a lock, and writes a row
// into the table reservations (order_no, sku, qty). Nil means that the buyer has the order.
func Reserve(ctx context.Context, db *gorm.DB, orderNo, sku string, qty int) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var row stock
		if err := tx.First(&row, "sku = ?", sku).Error; err != nil {
			return err
		}
		if row.Available < qty {
			return ErrOutOfStock
		}
		res := tx.Exec("UPDATE stock SET available = ?, version = version + 1 WHERE sku = ? AND version = ?", row.Available-qty, sku, row.Version)
		if res.Error != nil {
			return res.Error
		}
		if res.RowsAffected == 0 {
			return ErrContended
		}
		return tx.Exec("INSERT INTO reservations (order_no, sku, qty) VALUES (?, ?, ?)", orderNo, sku, qty).Error
	})
}
