package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
	"holdfast/pkg/outbox"
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
	won, notify := false, false
	err = s.inTx(ctx, orderNo, c.to, func(tx *gorm.DB) error {
		n, err := c.apply(tx, orderNo)
		if err != nil {
			return err
		}
		if o, err = ofUser(tx, userID, orderNo); err != nil {
			return err
		}
		if won = n == 1; won && c.to == order.Paid {
			if notify, err = notifyPaid(tx, o); err != nil {
				return err
			}
		}
		if won {
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
	if notify {
		s.notified()
	}
	return o, nil
}

// Expiry is what became of an order whose payment window may have ended.
type Expiry int

// The outcomes of Expire.
const (
	Ended   Expiry = iota // it is no longer PLACED, or there is no such order
	Expired               // by this call
	Early                 // it is PLACED and its time has not come, by the database's clock
)

// Expire turns those of the orders that are PLACED into EXPIRED whose payment window ended at least grace ago, by the
// database's clock, in one transaction, and returns what became of each. by is recorded as their healer; it is NoHealer
// for the order-timeout message.
//
// With skipLocked an order whose row another transaction has locked, such as its payment, does not delay the others,
// and is returned in locked. Errors are those of database.InTx.
func (s *Store) Expire(ctx context.Context, orderNos []string, grace time.Duration, by Healer, skipLocked bool) (outcomes map[string]Expiry, locked []string, err error) {
	n := 0
	args := make([]any, len(orderNos))
	for i, no := range orderNos {
		args[i] = no
	}
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		var due []string
		if outcomes, due, err = expirable(tx, orderNos, grace, skipLocked); err != nil || len(due) == 0 {
			return err
		}
		n = len(due)
		if _, err := (change{from: order.Placed, to: order.Expired}).apply(tx, due...); err != nil {
			return err
		}
		if _, err := heal(tx, by, actionExpired, due...); err != nil {
			return err
		}
		found, err := many(tx, "WHERE order_no IN ? ORDER BY order_no", due)
		if err != nil {
			return err
		}
		return s.ended(tx, found...)
	}, database.SettleBy("SELECT order_no FROM orders WHERE order_no IN ("+marks(len(args))+") AND status = 'EXPIRED' FOR UPDATE", args...))
	if err != nil {
		return nil, nil, err
	}
	for _, no := range orderNos {
		if _, seen := outcomes[no]; !seen && skipLocked {
			locked = append(locked, no)
		}
	}
	if n > 0 {
		s.outbox.Kick()
		s.count(order.Expired, n)
	}
	return outcomes, locked, nil
}

// expirable locks the orders' rows and returns which orders expire now.
func expirable(tx *gorm.DB, orderNos []string, grace time.Duration, skipLocked bool) (outcomes map[string]Expiry, due []string, err error) {
	how := ""
	if skipLocked {
		how = " SKIP LOCKED"
	}
	var rows []struct {
		OrderNo string
		Status  order.Status
		Due     bool
	}
	err = tx.Raw(`SELECT order_no, status, expires_at <= TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) AS due FROM orders FORCE INDEX (PRIMARY)
		WHERE order_no IN ? ORDER BY order_no FOR UPDATE`+how, -grace.Microseconds(), orderNos).Scan(&rows).Error
	if err != nil {
		return nil, nil, fmt.Errorf("look for expired orders: %w", err)
	}
	outcomes = make(map[string]Expiry, len(rows))
	for _, r := range rows {
		switch {
		case r.Status != order.Placed:
			outcomes[r.OrderNo] = Ended
		case r.Due:
			outcomes[r.OrderNo], due = Expired, append(due, r.OrderNo)
		default:
			outcomes[r.OrderNo] = Early
		}
	}
	return outcomes, due, nil
}

// Remaining is how long the orders may still be paid, by the database's clock: the longest of their times, not positive
// when all have passed.
func (s *Store) Remaining(ctx context.Context, orderNos []string) (time.Duration, error) {
	var micros int64
	err := s.db.WithContext(ctx).Raw("SELECT COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), expires_at)), 0) FROM orders WHERE order_no IN ?",
		orderNos).Row().Scan(&micros)
	if err != nil {
		return 0, fmt.Errorf("read the payment window of %s: %w", orderNos[0], database.Fault(err))
	}
	return time.Duration(micros) * time.Microsecond, nil
}

// ended announces how placed orders ended: one message for those of a group, which have the same status.
func (s *Store) ended(tx *gorm.DB, orders ...order.Order) error {
	members := make([]member, len(orders))
	for i, o := range orders {
		members[i] = member{o.OrderNo, o.GroupID}
	}
	status := string(orders[0].Status)
	var events []outbox.Event
	for group, numbers := range byGroup(members) {
		body := orderapi.OrderEvent{OrderNo: numbers[0], Status: status}
		if len(numbers) > 1 {
			body = orderapi.OrderEvent{Orders: numbers, Status: status}
		}
		events = append(events, outbox.Event{ID: numbers[0] + ":" + status, Topic: orderapi.TopicOrderEvents, Key: group, Body: body})
	}
	if err := outbox.Write(tx, events...); err != nil || s.flows == nil {
		return err
	}
	for _, o := range orders {
		if err := s.flows.Ended(&Tx{db: tx}, o); err != nil {
			return err
		}
	}
	return nil
}

// inTx runs a step whose lost COMMIT is settled by the status that it leaves, and notifies the relay.
func (s *Store) inTx(ctx context.Context, orderNo string, to order.Status, fn func(tx *gorm.DB) error) error {
	err := database.InTx(ctx, s.db, fn, database.SettleBy("SELECT order_no FROM orders WHERE order_no = ? AND status = ? FOR UPDATE", orderNo, to))
	if err == nil {
		s.outbox.Kick()
	}
	return err
}
