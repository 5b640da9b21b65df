// Package exercise is a solution of exercise 6: the mark and the effect are in one transaction, the unique key of the
// order number decides, and the acknowledgement follows the COMMIT.
package exercise

import (
	"context"

	"gorm.io/gorm"
)

// Schema has the orders that were handled. The primary key lets one of two transactions write a number.
const Schema = `CREATE TABLE handled (order_no VARCHAR(32) NOT NULL PRIMARY KEY)`

// Message is what the broker delivers.
type Message = struct {
	ID      string // of the message: an order that is sent twice has two messages
	OrderNo string
	SKU     string
	Qty     int
}

// Handle takes the units of an order once, however often its message is delivered.
func Handle(ctx context.Context, db *gorm.DB, m Message, ack func(ctx context.Context) error) error {
	err := db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		// The INSERT is the check. It waits for another transaction that has written the same number, and writes
		// nothing if that one commits.
		res := tx.Exec("INSERT IGNORE INTO handled (order_no) VALUES (?)", m.OrderNo)
		if res.Error != nil || res.RowsAffected == 0 {
			return res.Error
		}
		return tx.Exec(
			"UPDATE stock SET available = available - ? WHERE sku = ? AND available >= ?", m.Qty, m.SKU, m.Qty,
		).Error
	})
	if err != nil {
		return err
	}
	return ack(ctx) // a repeat is acknowledged, too: it has been handled
}
