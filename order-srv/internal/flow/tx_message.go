package flow

import (
	"context"
	"encoding/json"
	"time"

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
// Cost:        one message more for each group of orders, and the broker must be up.
// Choose it:   the caller wants the answer now, and stock must come back by itself after a crash.
type TxMessage struct {
	Base
	Deps
}

var _ Flow = (*TxMessage)(nil)

// ItemsLater implements Flow. Until the outcome nothing but this process needs the items: what ends an order after a
// crash gives back whatever inventory holds for it. So they are written once, with titles and prices.
func (f *TxMessage) ItemsLater() bool { return true }

// Place implements Flow. The half message names the whole group. It is sent when the orders are inserted and not
// meanwhile: then it names no order that is a repeat of another one, a group of repeats sends none, and a process that
// dies between the two leaves orders that the sweeper alone can end, as it must be able to.
func (f *TxMessage) Place(ctx context.Context, group []*Member) {
	var release orderapi.StockRelease
	for _, m := range group {
		m.bare = true
		release.Orders = append(release.Orders, m.OrderNo)
	}
	body, err := json.Marshal(release)
	if err != nil {
		f.unsent(ctx, group, err, false)
		return
	}
	half := mq.Message{Topic: orderapi.TopicStockRelease, Key: group[0].GroupID, Body: body}
	// Sending gets half of the time. If the broker hangs, the rest is for the refusal.
	sending, cancel := context.WithTimeout(ctx, time.Until(latest(group))/2)
	defer cancel()
	sent := false
	err = f.Tx.SendInTx(sending, half, func(context.Context) mq.TxState {
		sent = true
		crash.AtGroup(crash.OrderHalfSent, len(group))
		f.Resolve(ctx, group)
		return ended(group)
	})
	if !sent {
		f.unsent(ctx, group, err, false)
	}
}

// ended is how the half message ends: it is rolled back once each order's row says how the order ended, and unknown
// while one may be PENDING. The check-back decides then.
func ended(group []*Member) mq.TxState {
	for _, m := range group {
		if m.open {
			return mq.TxUnknown
		}
	}
	return mq.TxRollback
}

// StalePending implements Flow.
func (f *TxMessage) StalePending() time.Duration { return f.SweepAfter }

// Recover implements Flow. It abandons the orders and asks inventory by message to release what they hold.
func (f *TxMessage) Recover(ctx context.Context, orderNos []string) (int, error) {
	return f.Upkeep.Abandon(ctx, orderNos, f.SweepAfter, true, store.Sweeper)
}
