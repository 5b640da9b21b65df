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

// Answer is what a request for an order is answered with, and every repeat of it.
type Answer func(o order.Order) (status int, body []byte, err error)

// Placement is how a PENDING order becomes PLACED.
type Placement struct {
	Items    []order.Item // with inventory's titles and prices
	Strategy string       // by which inventory reserved them, also when the order did not ask for one
	Patience time.Duration
	Answer   Answer
}

// Place turns a PENDING order into PLACED with what inventory's receipt says, stores the answer, and writes order-timeout
// into the outbox. order.ErrNotPending when somebody ended the order first; then a stock-release went into the outbox, as
// its units are reserved by now. Other errors are those of database.InTx.
func (s *Store) Place(ctx context.Context, orderNo string, p Placement) (placed order.Order, err error) {
	var ended bool
	err = s.inTx(ctx, orderNo, "PLACED", func(tx *gorm.DB) error {
		var amount int64
		for _, it := range p.Items {
			amount += it.Quantity * it.UnitPriceCents
		}
		won, err := step(tx, orderNo, order.Pending, order.Placed,
			", amount_cents = ?, strategy = ?, expires_at = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6))",
			amount, p.Strategy, p.Patience.Microseconds())
		if err != nil {
			return err
		}
		if ended = !won; ended {
			placed, err = late(tx, orderNo)
			return err
		}
		for _, it := range p.Items {
			err := tx.Exec("UPDATE order_items SET title = ?, unit_price_cents = ? WHERE order_no = ? AND sku = ?", it.Title, it.UnitPriceCents, orderNo, it.SKU).Error
			if err != nil {
				return fmt.Errorf("price the items: %w", err)
			}
		}
		if placed, err = one(tx, "order_no = ?", orderNo); err != nil {
			return err
		}
		if err := storeAnswer(tx, &placed, p.Answer); err != nil {
			return err
		}
		return write(tx, event{
			id: orderNo + ":timeout", topic: orderapi.TopicOrderTimeout, key: orderNo,
			body: orderapi.OrderTimeout{Orders: []string{orderNo}}, deliverAt: placed.ExpiresAt,
		})
	})
	switch {
	case err != nil:
		return order.Order{}, err
	case !ended:
		s.count(order.Placed, 1)
	case placed.Status.HoldsNothing():
		return order.Order{}, order.ErrNotPending
	}
	return placed, nil
}

// late is for one who reserved units for an order and finds it ended: they are given back. If the order has them, it was
// we who placed it, in a transaction whose answer was lost; then nothing is to be given back.
func late(tx *gorm.DB, orderNo string) (order.Order, error) {
	o, err := one(tx, "order_no = ? FOR UPDATE", orderNo)
	if err != nil || !o.Status.HoldsNothing() {
		return o, err
	}
	return o, release(tx, "late", orderNo)
}

// Rejection is how a PENDING order ends as REJECTED.
type Rejection struct {
	Reason   string // a fault code
	Answer   Answer // nil: none is stored
	FreeKey  bool   // the same idempotency key may be used again; freed_key keeps it
	GiveBack bool   // an attempt to reserve may have been executed: release whatever is or will be held

	// Shortage says that the reason is a lack of stock, which units of an earlier order with the same key may have caused.
	// Unless inventory had settled that order before this one was inserted, the answer is not stored and the key is freed.
	Shortage bool
}

// Reject ends a PENDING order as REJECTED. order.ErrNotPending when somebody else ended it.
func (s *Store) Reject(ctx context.Context, orderNo string, r Rejection) error {
	var ended bool
	err := s.inTx(ctx, orderNo, "REJECTED", func(tx *gorm.DB) error {
		caused := false
		if r.Shortage {
			var err error
			if caused, err = predecessorHeld(tx, orderNo); err != nil {
				return err
			}
		}
		set := ", reason = ?"
		if r.FreeKey || caused {
			set += ", freed_key = idempotency_key, idempotency_key = NULL" // executed from left to right
		}
		if !r.GiveBack {
			set += ", settled_at = UTC_TIMESTAMP(6)" // nothing was taken, so there is nothing to agree about
		}
		won, err := step(tx, orderNo, order.Pending, order.Rejected, set, r.Reason)
		if err != nil {
			return err
		}
		if ended = !won; ended {
			if r.GiveBack {
				_, err = late(tx, orderNo)
			}
			return err
		}
		if r.Answer != nil && !caused {
			o, err := one(tx, "order_no = ?", orderNo)
			if err != nil {
				return err
			}
			if err := storeAnswer(tx, &o, r.Answer); err != nil {
				return err
			}
		}
		if r.GiveBack {
			return release(tx, "rejected", orderNo)
		}
		return nil
	})
	if err == nil && ended {
		return order.ErrNotPending
	}
	if err == nil {
		s.count(order.Rejected, 1)
	}
	return err
}

// predecessorHeld reports whether an earlier order with the same key may have held units after this one was inserted: that
// order has freed the key, and inventory had not settled it by then.
func predecessorHeld(tx *gorm.DB, orderNo string) (bool, error) {
	var n int64
	err := tx.Raw(`SELECT COUNT(*) FROM orders AS o JOIN orders AS earlier ON earlier.user_id = o.user_id AND earlier.freed_key = o.idempotency_key
		WHERE o.order_no = ? AND (earlier.settled_at IS NULL OR earlier.settled_at >= o.created_at)`, orderNo).Row().Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look for earlier orders with the key of %s: %w", orderNo, err)
	}
	return n > 0, nil
}

func storeAnswer(tx *gorm.DB, o *order.Order, answer Answer) error {
	status, body, err := answer(*o)
	if err != nil {
		return err
	}
	o.ResponseStatus, o.ResponseBody = status, body
	column, err := encodeBody(body)
	if err != nil {
		return err
	}
	err = tx.Exec("UPDATE orders SET response_status = ?, response_body = ? WHERE order_no = ?", status, column, o.OrderNo).Error
	if err != nil {
		return fmt.Errorf("store the answer: %w", err)
	}
	return nil
}

// Pay turns a PLACED order of the user into PAID, judged by the database's clock. A paid order stays as it is.
// order.ErrNotPayable when it has ended or expired, order.ErrNotFound when it is not the user's.
func (s *Store) Pay(ctx context.Context, userID, orderNo string) (order.Order, error) {
	return s.end(ctx, userID, orderNo, order.Paid, order.ErrNotPayable, ", paid_at = UTC_TIMESTAMP(6)", " AND expires_at > UTC_TIMESTAMP(6)")
}

// Cancel turns a PLACED order of the user into CANCELLED. A cancelled order stays as it is. order.ErrNotCancellable when it
// ended otherwise, order.ErrNotFound when it is not the user's.
func (s *Store) Cancel(ctx context.Context, userID, orderNo string) (order.Order, error) {
	return s.end(ctx, userID, orderNo, order.Cancelled, order.ErrNotCancellable, "", "")
}

func (s *Store) end(ctx context.Context, userID, orderNo string, to order.Status, refusal error, set, guard string) (o order.Order, err error) {
	won := false
	err = s.inTx(ctx, orderNo, to, func(tx *gorm.DB) error {
		res := tx.Exec("UPDATE orders SET status = ?, updated_at = UTC_TIMESTAMP(6)"+set+
			" WHERE order_no = ? AND user_id = ? AND status = 'PLACED'"+guard, to, orderNo, userID)
		if res.Error != nil {
			return fmt.Errorf("mark %s: %w", to, res.Error)
		}
		if o, err = one(tx, "order_no = ? AND user_id = ?", orderNo, userID); err != nil {
			return err
		}
		if won = res.RowsAffected == 1; won {
			return ended(tx, orderNo, to)
		}
		if o.Status != to {
			return refusal
		}
		return nil
	})
	if err != nil {
		return order.Order{}, err
	}
	if won {
		s.count(to, 1)
	}
	return o, nil
}

// Expiry is what became of an order whose time to pay may be over.
type Expiry int

// The outcomes of Expire.
const (
	Expired Expiry = iota // by this call
	Early                 // it is PLACED and its time has not come, by the database's clock
	Ended                 // it is no longer PLACED, or there is no such order
)

// Expire turns a PLACED order into EXPIRED if its time has been over for grace, by the database's clock. by is kept as
// its healer; it is Nobody for the message that was to come. Errors are those of database.InTx.
func (s *Store) Expire(ctx context.Context, orderNo string, grace time.Duration, by Healer) (outcome Expiry, err error) {
	err = s.inTx(ctx, orderNo, order.Expired, func(tx *gorm.DB) error {
		res := tx.Exec(`UPDATE orders SET status = ?, updated_at = UTC_TIMESTAMP(6)
			WHERE order_no = ? AND status = 'PLACED' AND expires_at <= TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6))`,
			order.Expired, orderNo, -grace.Microseconds())
		if res.Error != nil {
			return fmt.Errorf("expire: %w", res.Error)
		}
		if res.RowsAffected == 1 {
			outcome = Expired
			if _, err := heal(tx, by, deedExpired, orderNo); err != nil {
				return err
			}
			return ended(tx, orderNo, order.Expired)
		}
		var placed int64
		if err := tx.Raw("SELECT COUNT(*) FROM orders WHERE order_no = ? AND status = 'PLACED'", orderNo).Row().Scan(&placed); err != nil {
			return err
		}
		if outcome = Ended; placed > 0 {
			outcome = Early
		}
		return nil
	})
	if err == nil && outcome == Expired {
		s.count(order.Expired, 1)
	}
	return outcome, err
}

// Remaining is how long the order may still be paid, by the database's clock; not positive when its time is over.
func (s *Store) Remaining(ctx context.Context, orderNo string) (time.Duration, error) {
	var micros int64
	err := s.db.WithContext(ctx).Raw("SELECT COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), expires_at)), 0) FROM orders WHERE order_no = ?",
		orderNo).Row().Scan(&micros)
	if err != nil {
		return 0, fmt.Errorf("ask how long %s has: %w", orderNo, database.Fault(err))
	}
	return time.Duration(micros) * time.Microsecond, nil
}

// ended announces how a placed order ended.
func ended(tx *gorm.DB, orderNo string, status order.Status) error {
	return write(tx, event{
		id: orderNo + ":" + string(status), topic: orderapi.TopicOrderEvents, key: orderNo,
		body: orderapi.OrderEvent{OrderNo: orderNo, Status: string(status)},
	})
}

// release asks inventory, by message, to give back whatever it holds or will hold for the orders: one message each.
func release(tx *gorm.DB, why string, orderNos ...string) error {
	events := make([]event, len(orderNos))
	for i, no := range orderNos {
		events[i] = event{
			id: no + ":release-" + why, topic: orderapi.TopicStockRelease, key: no,
			body: orderapi.StockRelease{Orders: []string{no}},
		}
	}
	return write(tx, events...)
}

// step is one guarded transition. won is false when the order was not, or no longer, in the status from.
func step(tx *gorm.DB, orderNo string, from, to order.Status, set string, args ...any) (won bool, err error) {
	args = append(append([]any{to}, args...), orderNo, from)
	res := tx.Exec("UPDATE orders SET status = ?, updated_at = UTC_TIMESTAMP(6)"+set+" WHERE order_no = ? AND status = ?", args...)
	if res.Error != nil {
		return false, fmt.Errorf("mark %s: %w", to, res.Error)
	}
	return res.RowsAffected == 1, nil
}

// inTx runs a transition whose lost COMMIT is settled by the status that it leaves, and tells the relay.
func (s *Store) inTx(ctx context.Context, orderNo string, to order.Status, fn func(tx *gorm.DB) error) error {
	err := database.InTx(ctx, s.db, fn, database.SettleBy("SELECT order_no FROM orders WHERE order_no = ? AND status = ? FOR UPDATE", orderNo, to))
	if err == nil {
		s.Kick()
	}
	return err
}
