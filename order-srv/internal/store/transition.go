package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
)

// change is one step of the status machine.
type change struct {
	from, to  order.Status
	set       string // more assignments, each after a comma; executed from left to right
	setArgs   []any
	guard     string // a further condition, after AND
	guardArgs []any
}

// apply is the only statement that changes a status. It changes those of the orders that are in the status from, and
// returns how many they are. A step that the status machine does not have is an error.
func (c change) apply(tx *gorm.DB, orderNos ...string) (won int64, err error) {
	if !c.from.CanBecome(c.to) {
		return 0, fmt.Errorf("mark %s: a %s order cannot become that", c.to, c.from)
	}
	args := append(append([]any{c.to}, c.setArgs...), orderNos, c.from)
	res := tx.Exec("UPDATE orders FORCE INDEX (PRIMARY) SET status = ?, updated_at = UTC_TIMESTAMP(6)"+c.set+
		" WHERE order_no IN ? AND status = ?"+c.guard, append(args, c.guardArgs...)...)
	if res.Error != nil {
		return 0, fmt.Errorf("mark %s: %w", c.to, res.Error)
	}
	return res.RowsAffected, nil
}

// Placement is how a PENDING order becomes PLACED.
type Placement struct {
	Items         []order.Item // with inventory's titles and prices
	Strategy      string       // by which inventory reserved them, also when the order did not ask for one
	PaymentWindow time.Duration
}

// Place turns a PENDING order into PLACED with what inventory's receipt says, stores the answer, and writes
// order-timeout into the outbox. order.ErrNotPending when the order was ended before; then a stock-release went into
// the outbox, as its units are reserved by now. Other errors are those of database.InTx.
func (s *Store) Place(ctx context.Context, orderNo string, p Placement) (placed order.Order, err error) {
	var ended bool
	err = s.inTx(ctx, orderNo, order.Placed, func(tx *gorm.DB) error {
		won, err := price(tx, orderNo, p)
		if err != nil {
			return err
		}
		if ended = !won; ended {
			placed, err = late(tx, orderNo)
			return err
		}
		if placed, err = one(tx, "order_no = ?", orderNo); err != nil {
			return err
		}
		reply, err := orderapi.Placed(placed)
		if err != nil {
			return err
		}
		if err := storeAnswer(tx, &placed, reply); err != nil {
			return err
		}
		return write(tx, Event{
			ID: orderNo + ":timeout", Topic: orderapi.TopicOrderTimeout, Key: orderNo,
			Body: orderapi.OrderTimeout{Orders: []string{orderNo}}, DeliverAt: placed.ExpiresAt,
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

// price marks the order PLACED and writes the titles and prices of its items.
func price(tx *gorm.DB, orderNo string, p Placement) (won bool, err error) {
	var amount int64
	for _, it := range p.Items {
		amount += it.Quantity * it.UnitPriceCents
	}
	n, err := change{
		from: order.Pending, to: order.Placed,
		set:     ", amount_cents = ?, strategy = ?, expires_at = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6))",
		setArgs: []any{amount, p.Strategy, p.PaymentWindow.Microseconds()},
	}.apply(tx, orderNo)
	if err != nil || n == 0 {
		return false, err
	}
	for _, it := range p.Items {
		err := tx.Exec("UPDATE order_items SET title = ?, unit_price_cents = ? WHERE order_no = ? AND sku = ?", it.Title, it.UnitPriceCents, orderNo, it.SKU).Error
		if err != nil {
			return false, fmt.Errorf("price the items: %w", err)
		}
	}
	return true, nil
}

// late reads an order whose units were reserved and which is no longer PENDING. If it holds nothing, its units are
// given back. If it has them, this process placed it, in a transaction whose answer was lost.
func late(tx *gorm.DB, orderNo string) (order.Order, error) {
	o, err := one(tx, "order_no = ? FOR UPDATE", orderNo)
	if err != nil || !o.Status.HoldsNothing() {
		return o, err
	}
	return o, release(tx, "late", orderNo)
}

// Rejection is how a PENDING order ends as REJECTED.
type Rejection struct {
	Refusal  error // its fault's code becomes the order's reason, and it is the stored answer
	FreeKey  bool  // no answer is stored, and the idempotency key may be used again; freed_key keeps it
	GiveBack bool  // an attempt to reserve may have been executed: release whatever is or will be held

	// Shortage says that the reason is a lack of stock, which units of an earlier order with the same key may have caused.
	// Unless inventory had settled that order before this one was inserted, the answer is not stored and the key is freed.
	Shortage bool
}

// Reject ends a PENDING order as REJECTED and returns it with its answer, unless the key is to be freed. Errors:
// order.ErrNotPending when the order was ended before, and those of database.InTx.
func (s *Store) Reject(ctx context.Context, orderNo string, r Rejection) (rejected order.Order, err error) {
	var ended bool
	err = s.inTx(ctx, orderNo, order.Rejected, func(tx *gorm.DB) error {
		rejected = order.Order{OrderNo: orderNo, Status: order.Rejected, Reason: fault.From(r.Refusal).Code}
		freed, err := r.freesKey(tx, orderNo)
		if err != nil {
			return err
		}
		c := change{from: order.Pending, to: order.Rejected, set: ", reason = ?", setArgs: []any{rejected.Reason}}
		if freed {
			c.set += freeKey
		}
		if !r.GiveBack {
			c.set += ", settled_at = UTC_TIMESTAMP(6)" // nothing was taken, so there is nothing to agree about
		}
		won, err := c.apply(tx, orderNo)
		if err != nil {
			return err
		}
		if ended = won == 0; ended {
			if r.GiveBack {
				_, err = late(tx, orderNo)
			}
			return err
		}
		if err := r.answer(ctx, tx, &rejected, freed); err != nil {
			return err
		}
		if r.GiveBack {
			return release(tx, "rejected", orderNo)
		}
		return nil
	})
	if err == nil && ended {
		err = order.ErrNotPending
	}
	if err != nil {
		return order.Order{}, err
	}
	s.count(order.Rejected, 1)
	return rejected, nil
}

// freeKey is the assignments that free an order's key.
const freeKey = ", freed_key = idempotency_key, idempotency_key = NULL"

// freesKey reports whether the key is freed: on demand, or because an earlier order with the key may have held units
// after this one was inserted. That order has freed the key, and inventory had not settled it by then.
func (r Rejection) freesKey(tx *gorm.DB, orderNo string) (bool, error) {
	if r.FreeKey || !r.Shortage {
		return r.FreeKey, nil
	}
	var n int64
	err := tx.Raw(`SELECT COUNT(*) FROM orders AS o JOIN orders AS earlier ON earlier.user_id = o.user_id AND earlier.freed_key = o.idempotency_key
		WHERE o.order_no = ? AND (earlier.settled_at IS NULL OR earlier.settled_at >= o.created_at)`, orderNo).Row().Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look for earlier orders with the key of %s: %w", orderNo, err)
	}
	return n > 0, nil
}

// answer gives the order its answer, and stores it unless the key was freed.
func (r Rejection) answer(ctx context.Context, tx *gorm.DB, o *order.Order, freed bool) error {
	if r.FreeKey {
		return nil
	}
	reply, err := orderapi.Refused(ctx, o.OrderNo, r.Refusal)
	if err != nil {
		return err
	}
	if freed {
		o.ResponseStatus, o.ResponseBody = reply.Status, reply.Body
		return nil
	}
	return storeAnswer(tx, o, reply)
}

func storeAnswer(tx *gorm.DB, o *order.Order, reply orderapi.Reply) error {
	column, err := encodeBody(reply.Body)
	if err != nil {
		return err
	}
	o.ResponseStatus, o.ResponseBody = reply.Status, reply.Body
	err = tx.Exec("UPDATE orders SET response_status = ?, response_body = ? WHERE order_no = ?", reply.Status, column, o.OrderNo).Error
	if err != nil {
		return fmt.Errorf("store the answer: %w", err)
	}
	return nil
}

// release asks inventory, by message, to give back whatever it holds or will hold for the orders: one message each.
func release(tx *gorm.DB, why string, orderNos ...string) error {
	events := make([]Event, len(orderNos))
	for i, no := range orderNos {
		events[i] = Event{
			ID: no + ":release-" + why, Topic: orderapi.TopicStockRelease, Key: no,
			Body: orderapi.StockRelease{Orders: []string{no}},
		}
	}
	return write(tx, events...)
}

// inTx runs a step whose lost COMMIT is settled by the status that it leaves, and notifies the relay.
func (s *Store) inTx(ctx context.Context, orderNo string, to order.Status, fn func(tx *gorm.DB) error) error {
	err := database.InTx(ctx, s.db, fn, database.SettleBy("SELECT order_no FROM orders WHERE order_no = ? AND status = ? FOR UPDATE", orderNo, to))
	if err == nil {
		s.Kick()
	}
	return err
}
