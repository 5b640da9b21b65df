package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
)

// Pay turns a PLACED order of the user into PAID, judged by the database's clock. A paid order stays as it is.
// order.ErrNotPayable when it has ended or expired, order.ErrNotFound when it is not the user's.
func (s *Store) Pay(ctx context.Context, userID, orderNo string) (order.Order, error) {
	return s.end(ctx, userID, orderNo, order.ErrNotPayable, change{
		from: order.Placed, to: order.Paid, set: ", paid_at = UTC_TIMESTAMP(6)", guard: " AND expires_at > UTC_TIMESTAMP(6)",
	})
}

// Cancel turns a PLACED order of the user into CANCELLED. A cancelled order stays as it is. order.ErrNotCancellable
// when it ended otherwise, order.ErrNotFound when it is not the user's.
func (s *Store) Cancel(ctx context.Context, userID, orderNo string) (order.Order, error) {
	return s.end(ctx, userID, orderNo, order.ErrNotCancellable, change{from: order.Placed, to: order.Cancelled})
}

func (s *Store) end(ctx context.Context, userID, orderNo string, refusal error, c change) (o order.Order, err error) {
	c.guard, c.guardArgs = " AND user_id = ?"+c.guard, []any{userID}
	won := false
	err = s.inTx(ctx, orderNo, c.to, func(tx *gorm.DB) error {
		n, err := c.apply(tx, orderNo)
		if err != nil {
			return err
		}
		if o, err = one(tx, "order_no = ? AND user_id = ?", orderNo, userID); err != nil {
			return err
		}
		if won = n == 1; won {
			return s.ended(tx, o)
		}
		if o.Status != c.to {
			return refusal
		}
		return nil
	})
	if err != nil {
		return order.Order{}, err
	}
	if won {
		s.count(c.to, 1)
	}
	return o, nil
}

// Expiry is what became of an order whose payment window may have ended.
type Expiry int

// The outcomes of Expire.
const (
	Expired Expiry = iota // by this call
	Early                 // it is PLACED and its time has not come, by the database's clock
	Ended                 // it is no longer PLACED, or there is no such order
)

// Expire turns a PLACED order into EXPIRED if its payment window ended at least grace ago, by the database's clock. by
// is recorded as its healer; it is NoHealer for the order-timeout message. Errors are those of database.InTx.
func (s *Store) Expire(ctx context.Context, orderNo string, grace time.Duration, by Healer) (outcome Expiry, err error) {
	err = s.inTx(ctx, orderNo, order.Expired, func(tx *gorm.DB) error {
		n, err := change{
			from: order.Placed, to: order.Expired,
			guard: " AND expires_at <= TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6))", guardArgs: []any{-grace.Microseconds()},
		}.apply(tx, orderNo)
		if err != nil {
			return err
		}
		found, err := many(tx, "order_no = ?", orderNo)
		if err != nil {
			return err
		}
		switch {
		case n == 1:
			outcome = Expired
			if _, err := heal(tx, by, actionExpired, orderNo); err != nil {
				return err
			}
			return s.ended(tx, found[0])
		case len(found) == 1 && found[0].Status == order.Placed:
			outcome = Early
		default:
			outcome = Ended
		}
		return nil
	})
	if err == nil && outcome == Expired {
		s.count(order.Expired, 1)
	}
	return outcome, err
}

// Remaining is how long the order may still be paid, by the database's clock; not positive when its time has passed.
func (s *Store) Remaining(ctx context.Context, orderNo string) (time.Duration, error) {
	var micros int64
	err := s.db.WithContext(ctx).Raw("SELECT COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), expires_at)), 0) FROM orders WHERE order_no = ?",
		orderNo).Row().Scan(&micros)
	if err != nil {
		return 0, fmt.Errorf("read the payment window of %s: %w", orderNo, database.Fault(err))
	}
	return time.Duration(micros) * time.Microsecond, nil
}

// ended announces how a placed order ended.
func (s *Store) ended(tx *gorm.DB, o order.Order) error {
	err := write(tx, Event{
		ID: o.OrderNo + ":" + string(o.Status), Topic: orderapi.TopicOrderEvents, Key: o.GroupID,
		Body: orderapi.OrderEvent{OrderNo: o.OrderNo, Status: string(o.Status)},
	})
	if err != nil || s.flows == nil {
		return err
	}
	return s.flows.Ended(&Tx{tx}, o)
}

// inTx runs a step whose lost COMMIT is settled by the status that it leaves, and notifies the relay.
func (s *Store) inTx(ctx context.Context, orderNo string, to order.Status, fn func(tx *gorm.DB) error) error {
	err := database.InTx(ctx, s.db, fn, database.SettleBy("SELECT order_no FROM orders WHERE order_no = ? AND status = ? FOR UPDATE", orderNo, to))
	if err == nil {
		s.Kick()
	}
	return err
}
