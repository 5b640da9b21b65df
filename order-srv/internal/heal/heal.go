// Package heal holds the backstops. Messages make an order's way fast; the sweeper and the reconciler make it certain:
// whatever was lost, they find it from the rows.
package heal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/fault"
)

const (
	batch    = 500              // orders of one question; inventory takes up to 1,000
	passTime = 30 * time.Second // of one pass; what is left is for the next
)

// Timers say when to step in.
type Timers struct {
	SweepAfter     time.Duration // PENDING, or overdue, for longer than this
	SettleAfter    time.Duration // ended for longer than this: ask inventory
	ReconcileAfter time.Duration // ended for longer than this and inventory does not agree: act
}

// Inventory is what the reconciler needs of inventory-srv.
type Inventory interface {
	States(ctx context.Context, orderNos []string) (map[string]string, error)
	Confirm(ctx context.Context, orderNo string) error
	Release(ctx context.Context, orderNo string) error
}

// Healer runs the sweeper and the reconciler. Several replicas may: guards decide who was first.
type Healer struct {
	store     *store.Store
	inventory Inventory
	timers    Timers
	log       *slog.Logger
	sweeper   prometheus.Counter
	reconcile prometheus.Counter
	alarms    prometheus.Counter
}

// New returns a healer that counts into healed, by healer, and into alarms what it cannot heal.
func New(s *store.Store, inventory Inventory, t Timers, log *slog.Logger, healed *prometheus.CounterVec, alarms prometheus.Counter) *Healer {
	return &Healer{
		store: s, inventory: inventory, timers: t, log: log, alarms: alarms,
		sweeper: healed.WithLabelValues(string(store.Sweeper)), reconcile: healed.WithLabelValues(string(store.Reconciler)),
	}
}

// Sweep ends orders that nobody else ended: it abandons old PENDING ones and expires overdue PLACED ones.
func (h *Healer) Sweep(ctx context.Context) error {
	stale, err := h.store.Stale(ctx, h.timers.SweepAfter, batch)
	if err != nil {
		return err
	}
	n, err := h.store.Abandon(ctx, stale, h.timers.SweepAfter, true, store.Sweeper)
	h.sweeper.Add(float64(n))
	if err != nil {
		return err
	}
	overdue, err := h.store.Overdue(ctx, h.timers.SweepAfter, batch)
	if err != nil {
		return err
	}
	for _, orderNo := range overdue {
		outcome, err := h.store.Expire(ctx, orderNo, h.timers.SweepAfter, store.Sweeper)
		if err != nil {
			return err
		}
		if outcome == store.Expired {
			h.sweeper.Inc()
		}
	}
	return nil
}

// Reconcile asks inventory about orders that have ended. Where it agrees, that is noted; where it does not and messages
// have had their time, it is told. The error joins what went wrong; one order's trouble does not hold up the others, but
// an inventory that does not even answer the question ends the pass.
func (h *Healer) Reconcile(ctx context.Context) error {
	var errs []error
	for after := ""; ; {
		orders, err := h.store.Unsettled(ctx, h.timers.SettleAfter, after, batch)
		if err != nil || len(orders) == 0 {
			return errors.Join(append(errs, err)...)
		}
		states, err := h.ask(ctx, orders)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, h.settle(ctx, orders, states))
		after = orders[len(orders)-1].OrderNo
	}
}

func (h *Healer) ask(ctx context.Context, orders []store.Unsettled) (map[string]string, error) {
	numbers := make([]string, len(orders))
	for i, o := range orders {
		numbers[i] = o.OrderNo
	}
	states, err := h.inventory.States(ctx, numbers)
	if err != nil {
		return nil, fmt.Errorf("ask inventory: %w", err)
	}
	return states, nil
}

func (h *Healer) settle(ctx context.Context, orders []store.Unsettled, states map[string]string) error {
	agreed := map[order.Status][]string{}
	var errs []error
	for _, o := range orders {
		switch {
		case agrees(o.Status, states[o.OrderNo]):
			agreed[o.Status] = append(agreed[o.Status], o.OrderNo)
		case o.Age >= h.timers.ReconcileAfter:
			errs = append(errs, h.act(ctx, o))
		}
	}
	for status, orderNos := range agreed {
		_, err := h.store.Settle(ctx, status, orderNos)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// agrees: "absent" is no agreement, as a reserve may still be on its way; the tombstone is.
func agrees(status order.Status, state string) bool {
	if status == order.Paid {
		return state == inventoryapi.StateConfirmed
	}
	return state == inventoryapi.StateReleased || state == inventoryapi.StateVoid
}

func (h *Healer) act(ctx context.Context, o store.Unsettled) error {
	h.log.WarnContext(ctx, "inventory does not agree, telling it", "order_no", o.OrderNo, "status", o.Status)
	if o.Status == order.Paid {
		return h.confirm(ctx, o)
	}
	err := h.inventory.Release(ctx, o.OrderNo)
	switch {
	case err == nil:
		return h.told(ctx, o)
	case errors.Is(err, inventoryapi.ErrConfirmed): // no healer can mend it, and it must not look settled
		h.alarms.Inc()
		h.log.ErrorContext(ctx, "units of an order that ended count as sold", "order_no", o.OrderNo, "status", o.Status, "err", err)
		return nil
	}
	return fmt.Errorf("release %s: %w", o.OrderNo, err)
}

// told settles an order that inventory has just been told of. Another replica may have told it at the same time, which
// did no harm; only one of them counts it.
func (h *Healer) told(ctx context.Context, o store.Unsettled) error {
	n, err := h.store.Told(ctx, o.Status, o.OrderNo)
	h.reconcile.Add(float64(n))
	return err
}

func (h *Healer) confirm(ctx context.Context, o store.Unsettled) error {
	err := h.inventory.Confirm(ctx, o.OrderNo)
	switch {
	case err == nil:
		return h.told(ctx, o)
	case errors.Is(err, inventoryapi.ErrClosed), errors.Is(err, inventoryapi.ErrUnknownOrder), errors.Is(err, inventoryapi.ErrStockLost):
		won, dbErr := h.store.RefundDue(ctx, o.OrderNo, fault.From(err).Code)
		if won {
			h.reconcile.Inc()
			h.log.ErrorContext(ctx, "a paid order has no stock, the buyer is owed a refund", "order_no", o.OrderNo, "err", err)
		}
		return dbErr
	}
	return fmt.Errorf("confirm %s: %w", o.OrderNo, err)
}

// Run calls Sweep and Reconcile again and again until ctx is done.
func (h *Healer) Run(ctx context.Context) {
	every := max(100*time.Millisecond, min(h.timers.SettleAfter, h.timers.SweepAfter)/2)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		h.pass(ctx, "sweep", h.Sweep)
		h.pass(ctx, "reconcile", h.Reconcile)
	}
}

func (h *Healer) pass(ctx context.Context, what string, pass func(context.Context) error) {
	once, cancel := context.WithTimeout(ctx, passTime)
	defer cancel()
	if err := pass(once); err != nil && ctx.Err() == nil {
		h.log.WarnContext(ctx, "backstop failed, the next pass goes on", "pass", what, "err", err)
	}
}
