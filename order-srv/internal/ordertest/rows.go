package ordertest

import (
	"context"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
)

// Window is how long the orders of Insert can be paid.
const Window = time.Hour

// Insert inserts one order, which can be paid for an hour.
func Insert(ctx context.Context, s *store.Store, o order.Order) (known order.Order, inserted bool, err error) {
	return InsertFor(ctx, s, o, Window)
}

// InsertFor inserts one order. known is the order itself or the one that has its key.
func InsertFor(ctx context.Context, s *store.Store, o order.Order, window time.Duration) (known order.Order, inserted bool, err error) {
	results, err := s.Insert(ctx, []order.Order{o}, window)
	if err != nil {
		return order.Order{}, false, err
	}
	return results[0].Order, results[0].New(), results[0].Err
}

// OldNumber is an order number that was made so long ago.
func OldNumber(age time.Duration) string {
	return ulid.MustNew(ulid.Timestamp(time.Now().Add(-age)), ulid.DefaultEntropy()).String()
}

// RequestHash is a hash of a request.
const RequestHash = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

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
