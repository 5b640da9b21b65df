package flow

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/crash"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
)

// TxMessage places orders with RocketMQ's transactional message. The message says the opposite of what one expects: not
// "take the stock" but "give it back". It is sent, half, before inventory is asked, and rolled back when the order is
// decided; if order-srv dies in between, the broker asks, and if the order is then abandoned, delivers it.
//
// Idea:        let the broker remember that something was begun.
// Steps:       PENDING → half message → reserve → PLACED or REJECTED → rollback of the half message.
// Goes wrong:  a refused reserve that is only a lost answer, taken for a refusal, loses stock for ever; a check-back that
// looks at anything but the row guesses.
// Cost:        one message more for each order, and the broker must be up.
// Choose it:   the caller wants the answer now, and stock must come back by itself after a crash.
type TxMessage struct{ deps Deps }

var _ Flow = (*TxMessage)(nil)

const (
	attemptTimeout = 1500 * time.Millisecond // of one call to inventory
	resolveReserve = 700 * time.Millisecond  // of the deadline that is kept for writing down the outcome

	// leastAttempt must be left for an attempt. One that is cut turns "not executed" into an unknown outcome.
	leastAttempt = 150 * time.Millisecond
)

// Place implements Flow.
func (f *TxMessage) Place(ctx context.Context, o order.Order) (Reply, error) {
	crash.At(crash.OrderPending)
	body, err := json.Marshal(orderapi.StockRelease{Orders: []string{o.OrderNo}})
	if err != nil {
		return Reply{}, err
	}
	half := mq.Message{Topic: orderapi.TopicStockRelease, Key: o.GroupID, Body: body}
	var reply Reply
	var failed error
	announced := false
	// Sending gets half of the time, so that a broker that hangs leaves some for saying so.
	sending, cancel := context.WithTimeout(ctx, time.Until(deadline(ctx, f.deps.Timeout))/2)
	defer cancel()
	err = f.deps.Tx.SendInTx(sending, half, func(context.Context) (state mq.TxState) {
		announced = true
		crash.At(crash.OrderHalfSent)
		reply, state, failed = f.decide(ctx, o)
		return state
	})
	if !announced {
		return Reply{}, f.unsent(ctx, o, err)
	}
	return reply, failed
}

// deadline is ctx's own, or one that is d ahead.
func deadline(ctx context.Context, d time.Duration) time.Time {
	if t, ok := ctx.Deadline(); ok {
		return t
	}
	return time.Now().Add(d)
}

// unsent ends an order whose half message could not be sent: nothing was taken. If this fails too, the sweeper abandons.
func (f *TxMessage) unsent(ctx context.Context, o order.Order, cause error) error {
	refusal := order.ErrBrokerUnavailable.Wrap(cause)
	ctx, cancel := resolving(ctx)
	defer cancel()
	if err := f.deps.Store.Reject(ctx, o.OrderNo, store.Rejection{Reason: refusal.Code, FreeKey: true}); err != nil {
		f.deps.Log.WarnContext(ctx, "order stays pending until it is swept", "order_no", o.OrderNo, "err", err)
	}
	return refusal
}

// decide reserves and resolves. The state ends the half message: rolled back once the order's row says how it ended,
// unknown as long as it is PENDING.
func (f *TxMessage) decide(ctx context.Context, o order.Order) (Reply, mq.TxState, error) {
	receipt, maybe, err := f.reserve(ctx, o)
	switch {
	case err == nil:
		return f.place(ctx, o, receipt)
	case definite(err):
		return f.reject(ctx, o, store.Rejection{
			Reason: fault.From(err).Code, Answer: refused(ctx, err), GiveBack: maybe, Shortage: errors.Is(err, inventoryapi.ErrOutOfStock),
		}, nil)
	case !maybe:
		err = notExecuted(err)
		return f.reject(ctx, o, store.Rejection{Reason: fault.From(err).Code, FreeKey: true}, err)
	}
	f.deps.Log.WarnContext(ctx, "order stays pending, its reserve has no answer", "order_no", o.OrderNo, "err", err)
	reply, err := pending(o)
	return reply, mq.TxUnknown, err
}

// reserve asks inventory until there is a definite answer or the deadline is near. maybe says that some attempt, an
// earlier or the last one, may have been executed, or may still be waiting in a queue.
func (f *TxMessage) reserve(ctx context.Context, o order.Order) (receipt *inventoryapi.Receipt, maybe bool, err error) {
	ctx, cancel := context.WithDeadline(ctx, deadline(ctx, f.deps.Timeout).Add(-resolveReserve))
	defer cancel()
	for try := 1; ; try++ {
		if end, ok := ctx.Deadline(); ok && time.Until(end) < leastAttempt { // writing and sending took the time
			return nil, maybe, fault.ErrTimeout.NotExecuted()
		}
		receipt, err = f.attempt(ctx, o)
		if err == nil || definite(err) {
			return receipt, maybe, err
		}
		maybe = maybe || fault.Ambiguous(err)
		// While an attempt may have been executed only another one can decide the order.
		again := passing(err) || maybe && fault.KindOf(err) == fault.Limited
		if !again || !pause(ctx, try) {
			return nil, maybe, err
		}
	}
}

func (f *TxMessage) attempt(ctx context.Context, o order.Order) (*inventoryapi.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	ask := inventoryapi.ReserveOrder{OrderNo: o.OrderNo, Strategy: o.Strategy}
	for _, it := range o.Items {
		ask.Lines = append(ask.Lines, inventoryapi.Line{SKU: it.SKU, Quantity: it.Quantity})
	}
	results, err := f.deps.Inventory.Reserve(ctx, []inventoryapi.ReserveOrder{ask})
	switch {
	case err != nil:
		return nil, err
	case len(results) != 1 || results[0].OrderNo != o.OrderNo:
		return nil, errors.New("inventory answered about other orders")
	case results[0].Problem != nil:
		return nil, results[0].Problem.Fault()
	case results[0].Receipt == nil:
		return nil, errors.New("inventory answered with neither a receipt nor a problem")
	}
	return results[0].Receipt, nil
}

// pause waits before the next attempt, longer with each; false when too little time is left for one.
func pause(ctx context.Context, try int) bool {
	d := min(time.Duration(try)*20*time.Millisecond, 200*time.Millisecond)
	d = d/2 + rand.N(d)
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d+leastAttempt {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// resolving gives the last step the time until resolveReserve after the order's deadline, but at least 2*resolveReserve. The
// units may be taken by now, and an outcome that is not written leaves the order PENDING.
func resolving(ctx context.Context) (context.Context, context.CancelFunc) {
	end := time.Now().Add(2 * resolveReserve)
	if t, ok := ctx.Deadline(); ok && t.Add(resolveReserve).After(end) {
		end = t.Add(resolveReserve)
	}
	return context.WithDeadline(context.WithoutCancel(ctx), end)
}

func (f *TxMessage) place(ctx context.Context, o order.Order, r *inventoryapi.Receipt) (Reply, mq.TxState, error) {
	crash.At(crash.OrderReserved)
	ctx, cancel := resolving(ctx)
	defer cancel()
	items := make([]order.Item, len(r.Lines))
	for i, l := range r.Lines {
		items[i] = order.Item{SKU: l.SKU, Title: l.Title, Quantity: l.Quantity, UnitPriceCents: l.UnitPriceCents}
	}
	done, err := f.deps.Store.Place(ctx, o.OrderNo, store.Placement{Items: items, Strategy: r.Strategy, Patience: f.deps.Patience, Answer: placed})
	if err != nil {
		return f.unresolved(ctx, o, err)
	}
	crash.At(crash.OrderPlaced)
	return Reply{o.OrderNo, done.ResponseStatus, done.ResponseBody}, mq.TxRollback, nil
}

func (f *TxMessage) reject(ctx context.Context, o order.Order, r store.Rejection, failure error) (Reply, mq.TxState, error) {
	ctx, cancel := resolving(ctx)
	defer cancel()
	if err := f.deps.Store.Reject(ctx, o.OrderNo, r); err != nil {
		return f.unresolved(ctx, o, err)
	}
	crash.At(crash.OrderRejected)
	if failure != nil {
		return Reply{}, mq.TxRollback, failure
	}
	status, body, err := r.Answer(o)
	return Reply{o.OrderNo, status, body}, mq.TxRollback, err
}

// unresolved is an outcome that could not be written down. Either somebody ended the order before us, which is definite;
// or the row is PENDING, or we do not know what it is: the check-back decides from it.
func (f *TxMessage) unresolved(ctx context.Context, o order.Order, err error) (Reply, mq.TxState, error) {
	if errors.Is(err, order.ErrNotPending) {
		return Reply{}, mq.TxRollback, order.ErrNotPending.With("order_no", o.OrderNo)
	}
	f.deps.Log.WarnContext(ctx, "outcome not written down, the check-back decides", "order_no", o.OrderNo, "err", err)
	reply, err := pending(o)
	return reply, mq.TxUnknown, err
}
