// Package exercise is exercise 6, an idempotent consumer. Read task.md first.
//
// The broker delivers each message at least once: two consumers may have it at the same time, a consumer that dies
// leaves it to another one, and a sender that is not sure sends it again. Make Handle take the units of an order once.
package exercise

import (
	"context"

	"gorm.io/gorm"
)

// Schema creates the tables that Handle needs beside stock (sku, available). You decide what is in it: one or more
// CREATE TABLE statements, separated by semicolons.
const Schema = ``

// Message is what the broker delivers. Do not change it.
type Message = struct {
	ID      string // of the message: an order that is sent twice has two messages
	OrderNo string
	SKU     string
	Qty     int
}

// Handle takes Qty units of the SKU from the stock for one order, and acknowledges the message with ack. A message that
// is not acknowledged is delivered again. An error is reported to the broker, which delivers the message again, too.
func Handle(ctx context.Context, db *gorm.DB, m Message, ack func(ctx context.Context) error) error {
	err := db.WithContext(ctx).Exec(
		"UPDATE stock SET available = available - ? WHERE sku = ? AND available >= ?", m.Qty, m.SKU, m.Qty,
	).Error
	if err != nil {
		return err
	}
	return ack(ctx)
}
