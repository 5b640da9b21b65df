package ordertest

import (
	"context"
	"time"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
)

// Insert inserts one order.
func Insert(ctx context.Context, s *store.Store, o order.Order) (known order.Order, inserted bool, err error) {
	results, err := s.Insert(ctx, []order.Order{o})
	if err != nil {
		return order.Order{}, false, err
	}
	return results[0].Known, results[0].New(), results[0].Err
}

// Place makes one PENDING order PLACED.
func Place(ctx context.Context, s *store.Store, orderNo string, p store.Placement) (order.Order, error) {
	return resolve(ctx, s, store.Decision{OrderNo: orderNo, Placement: &p})
}

// Reject makes one PENDING order REJECTED.
func Reject(ctx context.Context, s *store.Store, orderNo string, r store.Rejection) (order.Order, error) {
	return resolve(ctx, s, store.Decision{OrderNo: orderNo, Rejection: &r})
}

// Expire expires one order.
func Expire(ctx context.Context, s *store.Store, orderNo string, grace time.Duration, by store.Healer) (store.Expiry, error) {
	outcomes, _, err := s.Expire(ctx, []string{orderNo}, grace, by, false)
	return outcomes[orderNo], err
}

func resolve(ctx context.Context, s *store.Store, d store.Decision) (order.Order, error) {
	results, err := s.Resolve(ctx, []store.Decision{d}, false)
	if err != nil {
		return order.Order{}, err
	}
	return results[0].Order, results[0].Err
}
