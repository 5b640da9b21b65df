// Package exercise continues after the largest id that was sent.
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

// Relay reads what comes after the largest id that it has sent: a short query, whatever the size of the table.
func Relay(ctx context.Context, db *gorm.DB, send func(ctx context.Context, orderNo, body string) error) error {
	var last int64
	err := db.WithContext(ctx).Raw("SELECT COALESCE(MAX(id), 0) FROM outbox WHERE sent_at IS NOT NULL").Scan(&last).Error
	if err != nil {
		return err
	}
	var next []message
	err = db.WithContext(ctx).Raw("SELECT id, order_no, body FROM outbox WHERE id > ? ORDER BY id", last).Scan(&next).Error
	if err != nil {
		return err
	}
	for _, m := range next {
		if err := send(ctx, m.OrderNo, m.Body); err != nil {
			return err
		}
		err := db.WithContext(ctx).Exec("UPDATE outbox SET sent_at = UTC_TIMESTAMP(6) WHERE id = ?", m.ID).Error
		if err != nil {
			return err
		}
	}
	return nil
}
