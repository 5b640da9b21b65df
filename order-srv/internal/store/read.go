package store

import (
	"context"
	"time"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
)

// Get returns a user's own order, or order.ErrNotFound.
func (s *Store) Get(ctx context.Context, userID, orderNo string) (order.Order, error) {
	o, err := one(s.db.WithContext(ctx), "order_no = ? AND user_id = ?", orderNo, userID)
	return o, database.Fault(err)
}

// ByKey returns the user's order with the idempotency key, or order.ErrNotFound.
func (s *Store) ByKey(ctx context.Context, userID, key string) (order.Order, error) {
	o, err := one(s.db.WithContext(ctx), "user_id = ? AND idempotency_key = ?", userID, key)
	return o, database.Fault(err)
}

// List returns up to limit orders of a user below the order number before ("" for the newest), newest first.
func (s *Store) List(ctx context.Context, userID, before string, limit int) ([]order.Order, error) {
	// MySQL would take the key of the idempotency keys, read all orders of the user and sort them.
	rest, args := "FORCE INDEX (orders_user) WHERE user_id = ?", []any{userID}
	if before != "" {
		rest, args = rest+" AND order_no < ?", append(args, before)
	}
	orders, err := many(s.db.WithContext(ctx), rest+" ORDER BY order_no DESC LIMIT ?", append(args, limit)...)
	return orders, database.Fault(err)
}

// After returns up to limit orders after an order number, in order.
func (s *Store) After(ctx context.Context, orderNo string, limit int) ([]order.Order, error) {
	orders, err := many(s.db.WithContext(ctx), "WHERE order_no > ? ORDER BY order_no LIMIT ?", orderNo, limit)
	return orders, database.Fault(err)
}

// Now is the database's clock, by which everything is judged.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	var now time.Time
	err := s.db.WithContext(ctx).Raw("SELECT UTC_TIMESTAMP(6)").Row().Scan(&now)
	return now, database.Fault(err)
}
