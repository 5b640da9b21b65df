// Package exercise looks whether the order was handled, and then writes that it is.
package exercise

import (
	"context"

	"gorm.io/gorm"
)

// Schema has the orders that were handled.
const Schema = `CREATE TABLE handled (order_no VARCHAR(32) NOT NULL, KEY (order_no))`

// Message is what the broker delivers.
type Message = struct {
	ID      string
	OrderNo string
	SKU     string
	Qty     int
}

// Handle takes the units unless it finds the order among those that were handled.
func Handle(ctx context.Context, db *gorm.DB, m Message, ack func(ctx context.Context) error) error {
	err := db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var handled int64
		if err := tx.Raw("SELECT COUNT(*) FROM handled WHERE order_no = ?", m.OrderNo).Scan(&handled).Error; err != nil {
			return err
		}
		if handled > 0 {
			return nil
		}
		if err := tx.Exec("INSERT INTO handled (order_no) VALUES (?)", m.OrderNo).Error; err != nil {
			return err
		}
		return tx.Exec(
			"UPDATE stock SET available = available - ? WHERE sku = ? AND available >= ?", m.Qty, m.SKU, m.Qty,
		).Error
	})
	if err != nil {
		return err
	}
	return ack(ctx)
}
