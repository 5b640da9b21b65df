// Package exercise is a solution of exercise 3.
package exercise

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"
)

var (
	// ErrOutOfStock is what a buyer gets when there is too little. Nothing was taken then.
	ErrOutOfStock = errors.New("out of stock")
	// ErrContended is what a buyer gets when other orders were faster each time. Nothing was taken, and there may be
	// enough: the buyer may retry.
	ErrContended = errors.New("other orders were faster")
)

// maxTries is how often an order is tried.
const maxTries = 10

type stock struct {
	SKU       string `gorm:"column:sku;primaryKey"`
	Available int
	Version   int
}

// TableName is the name of the table: gorm would look for stocks.
func (stock) TableName() string { return "stock" }

// Reserve takes qty units of the SKU off the table stock (sku, available, version), without a lock, and writes a row
// into the table reservations (order_no, sku, qty). Nil means that the buyer has the order.
//
// Each try is a transaction of its own. Under REPEATABLE READ the first read of a transaction takes its snapshot, and
// all its reads see that moment: only a new transaction sees what the faster order has written.
func Reserve(ctx context.Context, db *gorm.DB, orderNo, sku string, qty int) error {
	for range maxTries {
		err := try(db.WithContext(ctx), orderNo, sku, qty)
		if !errors.Is(err, errChanged) {
			return err
		}
	}
	return ErrContended
}

// errChanged is a row that another order wrote between our read and our write.
var errChanged = errors.New("the row has changed since it was read")

func try(db *gorm.DB, orderNo, sku string, qty int) error {
	return db.Transaction(func(tx *gorm.DB) error {
		var row stock
		if err := tx.First(&row, "sku = ?", sku).Error; err != nil {
			return fmt.Errorf("read %s: %w", sku, err)
		}
		if row.Available < qty {
			return ErrOutOfStock
		}
		res := tx.Exec("UPDATE stock SET available = ?, version = version + 1 WHERE sku = ? AND version = ?", row.Available-qty, sku, row.Version)
		if res.Error != nil {
			return fmt.Errorf("take %d units of %s: %w", qty, sku, res.Error)
		}
		if res.RowsAffected == 0 {
			return errChanged // and the transaction is rolled back
		}
		return tx.Exec("INSERT INTO reservations (order_no, sku, qty) VALUES (?, ?, ?)", orderNo, sku, qty).Error
	})
}
