package store

import (
	"context"
	"time"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
)

// Get returns a user's own order, archived or not, or order.ErrNotFound.
func (s *Store) Get(ctx context.Context, userID, orderNo string) (order.Order, error) {
	o, err := ofUser(s.db.WithContext(ctx), userID, orderNo)
	return o, database.Fault(err)
}

// ByKey returns the user's order with the idempotency key, or order.ErrNotFound.
func (s *Store) ByKey(ctx context.Context, userID, key string) (order.Order, error) {
	o, err := one(s.db.WithContext(ctx), "user_id = ? AND idempotency_key = ?", userID, key)
	return o, database.Fault(err)
}

// List returns up to limit orders of a user below the order number before ("" for the newest), newest first. Archived
// orders are the oldest: the archive is read when orders does not fill the page.
func (s *Store) List(ctx context.Context, userID, before string, limit int) ([]order.Order, error) {
	db := s.db.WithContext(ctx)
	// MySQL would take the key of the idempotency keys, read all orders of the user and sort them.
	const newest = " WHERE user_id = ? AND order_no < ? ORDER BY order_no DESC LIMIT ?"
	if before == "" {
		before = afterAll
	}
	orders, err := live(db, "FORCE INDEX (orders_user)"+newest, userID, before, limit)
	if err != nil || len(orders) == limit {
		return orders, database.Fault(err)
	}
	if n := len(orders); n > 0 {
		before = orders[n-1].OrderNo // an order that was archived after the first read is on the page
	}
	older, err := archived(db, "FORCE INDEX (orders_archive_user)"+newest, userID, before, limit-len(orders))
	return append(orders, older...), database.Fault(err)
}

// afterAll is after every order number.
const afterAll = "~"

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
