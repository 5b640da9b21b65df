// Package exercise is a solution of exercise 7: send, then mark; look for what has no mark; and let a message that
// fails keep back its own order.
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

// Relay is one pass. A message that was sent and not marked, as the relay died in between, is sent again: the consumer
// has to be idempotent.
func Relay(ctx context.Context, db *gorm.DB, send func(ctx context.Context, orderNo, body string) error) error {
	// Not "id > the last one": a transaction that got a smaller id may commit later.
	var unsent []message
	err := db.WithContext(ctx).
		Raw("SELECT id, order_no, body FROM outbox WHERE sent_at IS NULL ORDER BY id").
		Scan(&unsent).Error
	if err != nil {
		return err
	}
	var failure error
	failed := map[string]bool{} // orders with a message that the broker has refused in this pass
	for _, m := range unsent {
		if failed[m.OrderNo] {
			continue // it would overtake the message that failed
		}
		if err := send(ctx, m.OrderNo, m.Body); err != nil {
			failed[m.OrderNo], failure = true, err
			continue
		}
		// By id, and not "all that are unsent": a message may have been committed since the SELECT.
		err := db.WithContext(ctx).Exec("UPDATE outbox SET sent_at = UTC_TIMESTAMP(6) WHERE id = ?", m.ID).Error
		if err != nil {
			return err
		}
	}
	return failure
}
