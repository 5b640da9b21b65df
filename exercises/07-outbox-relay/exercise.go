// Package exercise is exercise 7, an outbox relay. Read task.md first.
//
// Orders write their messages into the table outbox, in their own transactions:
//
//	outbox (id AUTO_INCREMENT, order_no, body, sent_at)
//
// The relay sends what is there. Each message has to arrive at least once, and the messages of one order in the order
// of their ids.
package exercise

import (
	"context"

	"gorm.io/gorm"
)

// message is a row of the outbox.
type message struct {
	ID      int64
	OrderNo string
	Body    string
}

// Relay is one pass of the relay; it is called again and again, by one process at a time. It sends the messages that
// were not sent yet, and records in the outbox which ones were. send returns nil when the broker has stored the
// message; after an error it has not. A message that the broker refuses may keep back the messages of its own order,
// and no other.
func Relay(ctx context.Context, db *gorm.DB, send func(ctx context.Context, orderNo, body string) error) error {
	var unsent []message
	err := db.WithContext(ctx).
		Raw("SELECT id, order_no, body FROM outbox WHERE sent_at IS NULL ORDER BY id").
		Scan(&unsent).Error
	if err != nil {
		return err
	}
	return nil
}
