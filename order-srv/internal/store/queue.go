package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
)

// Enqueue notes that PENDING orders wait in the queue. Call it in the transaction that inserts them.
func (tx *Tx) Enqueue(orders []order.Order) error {
	args := make([]any, len(orders))
	for i, o := range orders {
		args[i] = o.OrderNo
	}
	rows := strings.TrimSuffix(strings.Repeat("(?, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6)), ", len(orders)), ", ")
	// A transaction that is repeated after a COMMIT of unknown outcome may find the rows.
	err := tx.db.Exec("INSERT INTO queued_orders (order_no, queued_at, sent_at) VALUES "+rows+" ON DUPLICATE KEY UPDATE order_no = order_no", args...).Error
	if err != nil {
		return fmt.Errorf("enqueue orders: %w", err)
	}
	return nil
}

// Dequeue removes orders from the queue. Call it in the transaction that decides them.
func (tx *Tx) Dequeue(orderNos []string) error {
	if err := tx.db.Exec("DELETE FROM queued_orders WHERE order_no IN ?", orderNos).Error; err != nil {
		return fmt.Errorf("dequeue orders: %w", err)
	}
	return nil
}

// QueueState returns how many orders wait in the queue and the age of the oldest, 0 without any.
func (s *Store) QueueState(ctx context.Context) (depth int, oldest time.Duration, err error) {
	var micros int64
	err = s.db.WithContext(ctx).Raw("SELECT COUNT(*), COALESCE(TIMESTAMPDIFF(MICROSECOND, MIN(queued_at), UTC_TIMESTAMP(6)), 0) FROM queued_orders").
		Row().Scan(&depth, &micros)
	if err != nil {
		return 0, 0, fmt.Errorf("read the state of the queue: %w", database.Fault(err))
	}
	return depth, time.Duration(micros) * time.Microsecond, nil
}

// Queued returns those of the orders that wait in the queue and are PENDING and younger than age.
func (s *Store) Queued(ctx context.Context, orderNos []string, age time.Duration) ([]order.Order, error) {
	orders, err := many(s.db.WithContext(ctx), `FORCE INDEX (PRIMARY) WHERE order_no IN (SELECT order_no FROM queued_orders WHERE order_no IN ?)
		AND status = 'PENDING' AND created_at > TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) ORDER BY order_no`, orderNos, -age.Microseconds())
	if err != nil {
		return nil, fmt.Errorf("read queued orders: %w", database.Fault(err))
	}
	return orders, nil
}

// QueueStrays returns up to limit orders that are in the queue although they are not PENDING. There must be none: the
// transaction that decides an order removes it. One statement reads both tables, so nothing in flight can explain it.
func (s *Store) QueueStrays(ctx context.Context, limit int) ([]string, error) {
	var found []string
	err := s.db.WithContext(ctx).Raw(`SELECT q.order_no FROM queued_orders AS q LEFT JOIN orders AS o ON o.order_no = q.order_no
		WHERE o.status IS NULL OR o.status <> 'PENDING' ORDER BY q.order_no LIMIT ?`, limit).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("look for strays in the queue: %w", database.Fault(err))
	}
	return found, nil
}

// StaleQueued returns those of the orders that wait in the queue and whose last message was sent longer than age ago.
func (s *Store) StaleQueued(ctx context.Context, orderNos []string, age time.Duration) ([]string, error) {
	var found []string
	err := s.db.WithContext(ctx).Raw(`SELECT order_no FROM queued_orders FORCE INDEX (PRIMARY) WHERE order_no IN ?
		AND sent_at < TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) ORDER BY order_no`, orderNos, -age.Microseconds()).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("look for queued orders to send again: %w", database.Fault(err))
	}
	return found, nil
}

// MarkQueued records that a message with these orders was sent now.
func (s *Store) MarkQueued(ctx context.Context, orderNos []string) error {
	_, err := database.Exec(ctx, s.db, "UPDATE queued_orders SET sent_at = UTC_TIMESTAMP(6) WHERE order_no IN ?", orderNos)
	if err != nil {
		return fmt.Errorf("mark queued orders as sent: %w", err)
	}
	return nil
}
