package flow

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/crash"
	"holdfast/pkg/mq"
)

// TxMessage places orders with RocketMQ's transactional message. The message says the opposite of what one expects: not
// "take the stock" but "give it back". It is sent, half, before inventory is called, and rolled back when the orders
// are decided. If order-srv dies in between, the broker checks back, and delivers the message if the orders are then
// abandoned.
//
// Idea:        let the broker remember that something was begun.
// Steps:       PENDING → half message → reserve → PLACED or REJECTED → rollback of the half message.
// Goes wrong:  a lost answer that is taken for a refusal loses stock; a check-back that does not read the row guesses.
// Cost:        one message more for each order, and the broker must be up.
// Choose it:   the caller wants the answer now, and stock must come back by itself after a crash.
type TxMessage struct {
	Base
	Deps
}

var _ Flow = (*TxMessage)(nil)

// Place implements Flow.
func (f *TxMessage) Place(ctx context.Context, orders []order.Order) []Result {
	crash.At(crash.OrderPending)
	var release orderapi.StockRelease
	for _, o := range orders {
		release.Orders = append(release.Orders, o.OrderNo)
	}
	body, err := json.Marshal(release)
	if err != nil {
		return f.unsent(ctx, orders, err)
	}
	half := mq.Message{Topic: orderapi.TopicStockRelease, Key: orders[0].GroupID, Body: body}
	// Sending gets half of the time. If the broker hangs, the rest is for the refusal.
	end, _ := ctx.Deadline()
	sending, cancel := context.WithTimeout(ctx, time.Until(end)/2)
	defer cancel()
	var results []Result
	err = f.Tx.SendInTx(sending, half, func(context.Context) mq.TxState {
		crash.At(crash.OrderHalfSent)
		results = f.decide(ctx, orders)
		return ended(results)
	})
	if results == nil {
		return f.unsent(ctx, orders, err)
	}
	return results
}

// decide resolves the orders at the same time.
func (f *TxMessage) decide(ctx context.Context, orders []order.Order) []Result {
	results := make([]Result, len(orders))
	var running sync.WaitGroup
	for i, o := range orders {
		running.Go(func() { results[i] = f.Resolve(ctx, o) })
	}
	running.Wait()
	return results
}

// ended is how the half message ends: it is rolled back once each order's row says how the order ended, and unknown
// while one may be PENDING. The check-back decides then.
func ended(results []Result) mq.TxState {
	for _, r := range results {
		if r.Err == nil && r.Order.Status == order.Pending {
			return mq.TxUnknown
		}
	}
	return mq.TxRollback
}

// unsent rejects orders whose half message could not be sent: no stock was taken. An order that cannot be rejected
// stays PENDING until the sweeper abandons it.
func (f *TxMessage) unsent(ctx context.Context, orders []order.Order, cause error) []Result {
	refusal := order.ErrBrokerUnavailable.Wrap(cause)
	ctx, cancel := resolving(ctx)
	defer cancel()
	results := make([]Result, len(orders))
	for i, o := range orders {
		if _, err := f.Store.Reject(ctx, o.OrderNo, store.Rejection{Refusal: refusal, FreeKey: true}); err != nil {
			f.Log.WarnContext(ctx, "order stays pending until it is swept", "order_no", o.OrderNo, "err", err)
		}
		results[i] = Result{Err: refusal}
	}
	return results
}

// StalePending implements Flow.
func (f *TxMessage) StalePending() time.Duration { return f.SweepAfter }

// Recover implements Flow. It abandons the orders and asks inventory by message to release what they hold.
func (f *TxMessage) Recover(ctx context.Context, orderNos []string) (int, error) {
	return f.Upkeep.Abandon(ctx, orderNos, f.SweepAfter, true, store.Sweeper)
}
