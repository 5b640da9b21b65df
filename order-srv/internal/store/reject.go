package store

import (
	"context"
	"fmt"
	"iter"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/outbox"
	"holdfast/pkg/telemetry"
)

// Rejection is how a PENDING order ends as REJECTED.
type Rejection struct {
	Refusal  error // its fault's code becomes the order's reason, and it is the stored answer
	FreeKey  bool  // no answer is stored, and the idempotency key may be used again; freed_key keeps it
	GiveBack bool  // an attempt to reserve may have been executed: release whatever is or will be held

	// Shortage says that the reason is a lack of stock, which units of an earlier order with the same key may have caused.
	// Unless inventory had settled that order before this one was inserted, the answer is not stored and the key is freed.
	Shortage bool

	Items []order.Item // that are still to be written; none: they are written
}

// reject makes orders REJECTED.
func (r *resolution) reject(ctx context.Context) error {
	if len(r.rejected) == 0 {
		return nil
	}
	predecessors, err := r.predecessors()
	if err != nil {
		return err
	}
	v := newValues("reason", "response_status", "response_body", "freed_key", "settled_at", "due_at")
	var giveBack []member
	var bare []order.Order
	for _, i := range r.rejected {
		d := r.decisions[i]
		if len(d.Rejection.Items) > 0 {
			bare = append(bare, order.Order{OrderNo: d.OrderNo, Items: d.Rejection.Items})
		}
		row, refused := r.rows[d.OrderNo], rejection{Rejection: *d.Rejection, freed: d.Rejection.FreeKey || predecessors[d.OrderNo]}
		o, columns, err := refused.answer(telemetry.WithRequestID(ctx, d.RequestID), row)
		if err != nil {
			return err
		}
		var settledAt, dueAt any = r.now, nil // nothing was taken, so there is nothing to agree about
		if d.Rejection.GiveBack {
			settledAt, dueAt = nil, r.now
			giveBack = append(giveBack, member{d.OrderNo, row.GroupID})
		}
		v.add(append(columns, settledAt, dueAt)...)
		r.results[i].Order = o
	}
	won, err := change{
		from: order.Pending, to: order.Rejected, values: v, at: r.now,
		set: `, o.reason = v.reason, o.response_status = v.response_status, o.response_body = v.response_body, o.settled_at = v.settled_at,
			o.due_at = v.due_at,
			o.freed_key = COALESCE(v.freed_key, o.freed_key), o.idempotency_key = IF(v.freed_key IS NULL, o.idempotency_key, NULL)`,
	}.apply(r.tx)
	if err := r.all(won, r.rejected, err); err != nil {
		return err
	}
	if len(bare) > 0 {
		if err := insertItems(r.tx, bare); err != nil {
			return err
		}
	}
	if len(giveBack) == 0 {
		return nil
	}
	r.events = true
	return release(r.tx, "rejected", giveBack...)
}

// rejection is a Rejection for which is known whether it frees the key.
type rejection struct {
	Rejection
	freed bool
}

// answer is the rejected order, with its answer unless FreeKey, and its values from order_no to freed_key. The answer
// is not stored when the key is freed.
func (r rejection) answer(ctx context.Context, row pendingRow) (order.Order, []any, error) {
	o := order.Order{OrderNo: row.OrderNo, GroupID: row.GroupID, Status: order.Rejected, Reason: fault.From(r.Refusal).Code}
	if r.FreeKey {
		return o, []any{row.OrderNo, o.Reason, 0, nil, row.IdempotencyKey}, nil
	}
	reply, err := orderapi.Refused(ctx, row.OrderNo, r.Refusal)
	if err != nil {
		return o, nil, err
	}
	o.ResponseStatus, o.ResponseBody = reply.Status, reply.Body
	if r.freed {
		return o, []any{row.OrderNo, o.Reason, 0, nil, row.IdempotencyKey}, nil
	}
	body, err := encodeBody(reply.Body)
	return o, []any{row.OrderNo, o.Reason, reply.Status, body, nil}, err
}

// predecessors returns the orders, refused for a lack of stock, of which an earlier order with the key may have held
// units after they were inserted. That order has freed the key, and inventory had not settled it by then.
func (r *resolution) predecessors() (map[string]bool, error) {
	var short []string
	for _, i := range r.rejected {
		if r.decisions[i].Rejection.Shortage {
			short = append(short, r.decisions[i].OrderNo)
		}
	}
	if len(short) == 0 {
		return nil, nil
	}
	var found []string
	err := r.tx.Raw(`SELECT DISTINCT o.order_no FROM orders AS o JOIN orders AS earlier ON earlier.user_id = o.user_id AND earlier.freed_key = o.idempotency_key
		WHERE o.order_no IN ? AND (earlier.settled_at IS NULL OR earlier.settled_at >= o.created_at)`, short).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("look for earlier orders with the keys: %w", err)
	}
	out := make(map[string]bool, len(found))
	for _, no := range found {
		out[no] = true
	}
	return out, nil
}

// late is for orders that are no longer PENDING. If an order holds nothing and units may be reserved for it, they are
// given back. If it was to be placed and has its units, this process placed it, in a transaction whose answer was lost.
func (r *resolution) late(context.Context) error {
	if len(r.missed) == 0 {
		return nil
	}
	numbers := make([]string, len(r.missed))
	for n, i := range r.missed {
		numbers[n] = r.decisions[i].OrderNo
	}
	found, err := many(r.tx, "WHERE order_no IN ? ORDER BY order_no FOR UPDATE", numbers)
	if err != nil {
		return err
	}
	orders := make(map[string]order.Order, len(found))
	for _, o := range found {
		orders[o.OrderNo] = o
	}
	var giveBack []member
	for _, i := range r.missed {
		d := r.decisions[i]
		o, there := orders[d.OrderNo]
		switch {
		case !there:
			r.results[i].Err = order.ErrNotFound
		case d.Placement != nil && !o.Status.HoldsNothing():
			r.results[i].Order = o
		default:
			r.results[i].Err = order.ErrNotPending
		}
		if o.Status.HoldsNothing() && (d.Placement != nil || d.Rejection.GiveBack) {
			giveBack = append(giveBack, member{o.OrderNo, o.GroupID})
		}
	}
	if len(giveBack) == 0 {
		return nil
	}
	r.events = true
	return release(r.tx, "late", giveBack...)
}

// member is an order and its group.
type member struct{ OrderNo, GroupID string }

// byGroup returns the orders' numbers by group, in the order in which the groups first come.
func byGroup(orders []member) iter.Seq2[string, []string] {
	var groups []string
	numbers := map[string][]string{}
	for _, o := range orders {
		if numbers[o.GroupID] == nil {
			groups = append(groups, o.GroupID)
		}
		numbers[o.GroupID] = append(numbers[o.GroupID], o.OrderNo)
	}
	return func(yield func(string, []string) bool) {
		for _, group := range groups {
			if !yield(group, numbers[group]) {
				return
			}
		}
	}
}

// release asks inventory, by message, to give back whatever it holds or will hold for the orders: one message for each
// group. An order comes to each why at most once, so its number makes the event's id.
func release(tx *gorm.DB, why string, orders ...member) error {
	var events []outbox.Event
	for group, numbers := range byGroup(orders) {
		events = append(events, outbox.Event{
			ID: numbers[0] + ":release-" + why, Topic: orderapi.TopicStockRelease, Key: group,
			Body: orderapi.StockRelease{Orders: numbers},
		})
	}
	return outbox.Write(tx, events...)
}

// freeKey is the assignments that free an order's key.
const freeKey = ", freed_key = idempotency_key, idempotency_key = NULL"
