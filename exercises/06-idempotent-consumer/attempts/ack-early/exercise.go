// Package exercise acknowledges the message before the transaction has committed.
package exercise

import (
	"context"

	"gorm.io/gorm"
)

// Schema has the orders that were handled.
const Schema = `CREATE TABLE handled (order_no VARCHAR(32) NOT NULL PRIMARY KEY)`

// Message is what the broker delivers.
type Message = struct {
	ID      string
	OrderNo string
	SKU     string
	Qty     int
}

// Handle does everything in one transaction, also the acknowledgement.
func Handle(ctx context.Context, db *gorm.DB, m Message, ack func(ctx context.Context) error) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		res := tx.Exec("INSERT IGNORE INTO handled (order_no) VALUES (?)", m.OrderNo)
		if res.Error != nil {
			return res.Error
		}
		if res.RowsAffected == 1 {
			err := tx.Exec(
				"UPDATE stock SET available = available - ? WHERE sku = ? AND available >= ?", m.Qty, m.SKU, m.Qty,
			).Error
			if err != nil {
				return err
			}
		}
		return ack(ctx)
	})
}
