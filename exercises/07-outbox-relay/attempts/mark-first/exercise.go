// Package exercise marks a message as sent, and then sends it.
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

// Relay marks each message before it sends it, so that none is sent twice.
func Relay(ctx context.Context, db *gorm.DB, send func(ctx context.Context, orderNo, body string) error) error {
	var unsent []message
	err := db.WithContext(ctx).
		Raw("SELECT id, order_no, body FROM outbox WHERE sent_at IS NULL ORDER BY id").
		Scan(&unsent).Error
	if err != nil {
		return err
	}
	for _, m := range unsent {
		err := db.WithContext(ctx).Exec("UPDATE outbox SET sent_at = UTC_TIMESTAMP(6) WHERE id = ?", m.ID).Error
		if err != nil {
			return err
		}
		if err := send(ctx, m.OrderNo, m.Body); err != nil {
			return err
		}
	}
	return nil
}
