package store

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
)

// PutWebhook sets a user's webhook, in the place of the one before. Notifications that are not sent yet go to the new
// URL, with the new secret.
func (s *Store) PutWebhook(ctx context.Context, w order.Webhook) (order.Webhook, error) {
	_, err := database.Exec(ctx, s.db, `INSERT INTO webhooks (user_id, url, secret, updated_at) VALUES (?, ?, ?, UTC_TIMESTAMP(6))
		ON DUPLICATE KEY UPDATE url = ?, secret = ?, updated_at = UTC_TIMESTAMP(6)`, w.UserID, w.URL, w.Secret, w.URL, w.Secret)
	if err != nil {
		return order.Webhook{}, fmt.Errorf("set a webhook: %w", err)
	}
	return s.Webhook(ctx, w.UserID)
}

// Webhook returns a user's webhook, or order.ErrUnknownWebhook.
func (s *Store) Webhook(ctx context.Context, userID string) (order.Webhook, error) {
	found, err := webhooks(s.db.WithContext(ctx), []string{userID})
	if err != nil {
		return order.Webhook{}, database.Fault(err)
	}
	if len(found) == 0 {
		return order.Webhook{}, order.ErrUnknownWebhook
	}
	return found[userID], nil
}

// DeleteWebhook deletes a user's webhook. Notifications that are not sent yet are given up when they are due.
// order.ErrUnknownWebhook without one.
func (s *Store) DeleteWebhook(ctx context.Context, userID string) error {
	n, err := database.Exec(ctx, s.db, "DELETE FROM webhooks WHERE user_id = ?", userID)
	if err != nil {
		return fmt.Errorf("delete a webhook: %w", err)
	}
	if n == 0 {
		return order.ErrUnknownWebhook
	}
	return nil
}

// webhooks returns the webhooks of those of the users that have one.
func webhooks(db *gorm.DB, userIDs []string) (map[string]order.Webhook, error) {
	var rows []order.Webhook
	if err := db.Raw("SELECT user_id, url, secret, updated_at FROM webhooks WHERE user_id IN ?", userIDs).Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("read webhooks: %w", err)
	}
	found := make(map[string]order.Webhook, len(rows))
	for _, w := range rows {
		found[w.UserID] = w
	}
	return found, nil
}
