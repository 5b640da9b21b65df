// Package exercise is a solution of exercise 2.
package exercise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// ErrOutOfStock is what a buyer gets when there is too little of one of the products. Nothing was taken then.
var ErrOutOfStock = errors.New("out of stock")

// Line is one product of an order.
type Line = struct {
	SKU string
	Qty int
}

type stock struct {
	SKU       string `gorm:"column:sku;primaryKey"`
	Available int
}

// TableName is the name of the table: gorm would look for stocks.
func (stock) TableName() string { return "stock" }

// Reserve takes the units of all lines off the table stock (sku, available), and writes each line into the table
// reservations (order_no, sku, qty). Nil means that the buyer has the order.
//
// Each row is locked before it is looked at, and stays locked until COMMIT: what was read is still true when it is
// written. All orders lock in the order of the SKUs, so that the one that waits holds nothing that the other still
// wants. A refusal rolls back the lines before it.
func Reserve(ctx context.Context, db *gorm.DB, orderNo string, lines []Line) error {
	sorted := slices.SortedFunc(slices.Values(lines), func(a, b Line) int { return strings.Compare(a.SKU, b.SKU) })
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		for _, l := range sorted {
			var row stock
			if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).First(&row, "sku = ?", l.SKU).Error; err != nil {
				return fmt.Errorf("lock %s: %w", l.SKU, err)
			}
			if row.Available < l.Qty {
				return ErrOutOfStock
			}
			if err := take(tx, orderNo, l); err != nil {
				return err
			}
		}
		return nil
	})
}

// take takes a line's units, and stores that the order has them.
func take(tx *gorm.DB, orderNo string, l Line) error {
	if err := tx.Exec("UPDATE stock SET available = available - ? WHERE sku = ?", l.Qty, l.SKU).Error; err != nil {
		return fmt.Errorf("take %d units of %s: %w", l.Qty, l.SKU, err)
	}
	return tx.Exec("INSERT INTO reservations (order_no, sku, qty) VALUES (?, ?, ?)", orderNo, l.SKU, l.Qty).Error
}
