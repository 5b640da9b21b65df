package flow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
	"holdfast/pkg/mq"
	"holdfast/pkg/outbox"
	"holdfast/pkg/telemetry"
)

// NameOutbox is the flow's name, by which an audit knows that inventory has answered its orders.
const NameOutbox = "outbox"

// GroupReserved is the consumer group of stock-reserved.
const GroupReserved = "order-reserved"

// reserveLines bounds the lines of one stock-reserve message: it keeps the answers, which have titles, to a few
// messages.
const reserveLines = 1000

// Outbox places orders with a local message table. The order and the command to reserve its stock are written in one
// transaction, so there is no order without its command and no command without its order. The relay sends the command,
// at least once. Inventory reserves, and answers through an outbox of its own, at least once as well. Both handlers are
// idempotent: inventory answers an order once, and only a PENDING order is decided.
//
// Idea:        write the message where the order is written, and send it later.
// Steps:       PENDING and stock-reserve → relay → inventory reserves → its relay → PLACED or REJECTED.
// Goes wrong:  a message sent before the COMMIT; a relay that reads by offset skips a transaction that commits late.
// Cost:        the caller has to ask for the outcome, and two tables are written and read for each group of orders.
// Choose it:   an order must be taken while the broker or inventory is away, and the caller can wait for the outcome.
type Outbox struct {
	Base
	Deps
}

var _ Flow = (*Outbox)(nil)

// Begin implements Flow. It writes the commands: one message for the group, or several when its orders have many lines.
func (f *Outbox) Begin(tx *store.Tx, orders []order.Order) error {
	var events []outbox.Event
	var body orderapi.StockReserve
	first, lines := 0, 0 // of the orders of the message
	flush := func() {
		if n := len(body.Orders); n > 0 {
			body.RequestIDs = requestIDs(orders[first : first+n])
			first += n
			events = append(events, outbox.Event{
				ID: body.Orders[0].OrderNo + ":reserve", Topic: orderapi.TopicStockReserve, Key: orders[0].GroupID, Body: body,
			})
		}
		body, lines = orderapi.StockReserve{}, 0
	}
	for _, o := range orders {
		if lines+len(o.Items) > reserveLines {
			flush()
		}
		body.Orders = append(body.Orders, reserveOrder(o))
		lines += len(o.Items)
	}
	flush()
	return tx.Send(events...)
}

// Place implements Flow. The commands are written, and nothing else is to be done: the orders stay PENDING.
func (f *Outbox) Place(_ context.Context, group []*Member) {
	for _, m := range group {
		m.leave()
	}
}

// Subscriptions implements Flow.
func (f *Outbox) Subscriptions() []mq.Subscription {
	return []mq.Subscription{{Group: GroupReserved, Topic: inventoryapi.TopicStockReserved, Handler: f.reserved}}
}

// reserved decides the orders that inventory has answered.
func (f *Outbox) reserved(ctx context.Context, m mq.Message) error {
	var body inventoryapi.StockReserved
	if err := json.Unmarshal(m.Body, &body); err != nil {
		return mq.Discard(fmt.Errorf("decode stock-reserved: %w", err))
	}
	if len(body.Results) == 0 {
		return mq.Discard(errors.New("decode stock-reserved: it answers no order"))
	}
	steps := make([]store.Decision, len(body.Results))
	receipts := 0
	for i, r := range body.Results {
		steps[i] = store.Decision{OrderNo: r.OrderNo, RequestID: cmp.Or(body.RequestIDs[r.OrderNo], telemetry.RequestID(ctx))}
		switch {
		case r.Receipt != nil:
			steps[i].Placement = placement(r.Receipt, f.PaymentTime)
			receipts++
		case r.Problem != nil:
			steps[i].Rejection = refused(r.Problem.Fault())
		default:
			return mq.Discard(fmt.Errorf("decode stock-reserved: order %s has neither a receipt nor a problem", r.OrderNo))
		}
	}
	f.learn(body)
	atReserved(receipts)
	return f.decide(ctx, steps, len(steps) > 1)
}

// learn passes the answers to the memory of shortages, which refuses the next orders of what is sold out. A message may
// come late, or again after hours. So the age of what it says counts from when inventory looked, by inventory's clock;
// one that is ahead of this clock by more than the memory's age would make old answers new.
func (f *Outbox) learn(body inventoryapi.StockReserved) {
	if f.Shortages == nil || body.Looked.IsZero() {
		return
	}
	looked := body.Looked
	if now := time.Now(); looked.After(now) {
		looked = now
	}
	for _, r := range body.Results {
		f.Shortages.Learn(r, looked)
	}
}

// refused is how an order ends that inventory has refused. A refusal that is not about the order, such as a layout that
// the strategy does not fit, frees its key: a retry may be answered otherwise. Nothing is given back, as inventory
// itself releases what it holds for an order that it has refused.
func refused(err error) *store.Rejection {
	return &store.Rejection{Refusal: err, FreeKey: !definite(err), Shortage: errors.Is(err, inventoryapi.ErrOutOfStock)}
}

// decide ends the orders in one transaction. Those whose rows others have locked do not delay the others. When the
// server refuses a value, each order gets a transaction of its own. After an error the message comes again, and finds
// which orders are decided.
func (f *Outbox) decide(ctx context.Context, steps []store.Decision, skipLocked bool) error {
	resolved, err := f.Store.Resolve(ctx, steps, skipLocked)
	if database.IsData(err) && len(steps) > 1 {
		var failures []error
		for i := range steps {
			failures = append(failures, f.decide(ctx, steps[i:i+1], false))
		}
		return errors.Join(failures...)
	}
	if err != nil {
		return fmt.Errorf("decide %d orders, the first %s: %w", len(steps), steps[0].OrderNo, err)
	}
	var locked []store.Decision
	for i, r := range resolved {
		if r.Locked {
			locked = append(locked, steps[i])
		}
		if r.Err != nil {
			f.late(ctx, steps[i], r.Err)
		}
	}
	atWritten(resolved)
	if len(locked) > 0 {
		return f.decide(ctx, locked, false)
	}
	return nil
}

// late is an answer to an order that has ended, or that does not exist. The transaction has asked inventory to release
// what it holds for an order that has ended without it.
func (f *Outbox) late(ctx context.Context, d store.Decision, err error) {
	if errors.Is(err, order.ErrNotPending) {
		f.Log.InfoContext(ctx, "answer came after the order had ended", "order_no", d.OrderNo, "receipt", d.Placement != nil)
		return
	}
	f.Log.ErrorContext(ctx, "answer to an order that does not exist, the reconciler releases its units", "order_no", d.OrderNo, "err", err)
}

// StalePending implements Flow.
func (f *Outbox) StalePending() time.Duration { return f.QueueTimeout }

// Recover implements Flow. It abandons the orders and asks inventory by message to release what they hold. The release
// follows the command in the same shard, and overtakes it if the command is retried: its tombstone then refuses the
// command.
func (f *Outbox) Recover(ctx context.Context, orderNos []string) (int, error) {
	return f.Upkeep.Abandon(ctx, orderNos, f.QueueTimeout, true, store.Sweeper)
}
