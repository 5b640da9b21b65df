// Package recovery holds the healers: the check-back, the sweeper and the reconciler. Messages end and settle an order
// quickly but may be lost; the healers find from the rows what is left.
package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/fault"
)

const (
	batch    = 500              // orders of one question; inventory takes up to 1,000
	passTime = 30 * time.Second // of one pass; what is left is for the next
	actTime  = 10 * time.Second // after which a pass calls inventory about no more single orders
	askTime  = 5 * time.Second  // of one question about a batch
)

// Timers say when to step in.
type Timers struct {
	SweepAfter     time.Duration // PENDING, or overdue, for longer than this
	SettleAfter    time.Duration // ended for longer than this: ask inventory
	ReconcileAfter time.Duration // ended for longer than this and inventory does not agree: act
	UnknownAfter   time.Duration // reserved for longer than this, and no order holds the units: release
}

// Inventory is what the reconciler needs of inventory-srv.
type Inventory interface {
	States(ctx context.Context, orderNos []string) (map[string]string, error)
	Confirm(ctx context.Context, orderNo string) error
	Release(ctx context.Context, orderNo string) error
	Reservations(ctx context.Context, after string, limit int) (inventoryapi.ReservationPage, error)
}

// Config is what a [Healer] needs.
type Config struct {
	Store     *store.Store
	Flows     *flow.Set
	Inventory Inventory
	Timers    Timers
	Log       *slog.Logger
	Healed    *prometheus.CounterVec // counts the healed orders, by healer
	Alarms    prometheus.Counter     // counts what cannot be healed
}

// Healer runs the sweeper and the reconciler. Several replicas may run them: the SQL guards let one of them win.
type Healer struct {
	Config
	sweeper   prometheus.Counter
	reconcile prometheus.Counter

	sweepLater, actLater, unknownLater *backoff

	swept        store.Sweep // Sweep's places, among the PENDING orders and the overdue ones
	overdueAfter store.Place
	after        store.Place // Reconcile's place: the last order about which inventory was asked
	afterUnknown string      // ReleaseUnknown's place: the last reservation that was looked at
}

// New returns a healer. Run runs it.
func New(c Config) *Healer {
	return &Healer{
		Config: c, sweepLater: newBackoff(), actLater: newBackoff(), unknownLater: newBackoff(), afterUnknown: firstOrderNo,
		sweeper: c.Healed.WithLabelValues(string(store.Sweeper)), reconcile: c.Healed.WithLabelValues(string(store.Reconciler)),
	}
}

// Reconcile asks inventory about orders that have ended. Where inventory agrees, the order is settled; where it does
// not and messages have had their time, the reconciler confirms or releases the reservation. A pass begins where the
// last one stopped, and a batch that fails comes again only after all others. The error joins what went wrong; an order
// that fails is set aside and does not delay the others. Reconcile must not run twice at the same time on one healer.
func (h *Healer) Reconcile(ctx context.Context) error {
	acting, begin := time.Now().Add(actTime), h.after
	wrapped := begin == store.Place{}
	var errs []error
	for {
		page, err := h.Store.Unsettled(ctx, h.Timers.SettleAfter, h.after, batch)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		h.after = page.Next
		if len(page.Orders) > 0 {
			states, err := h.ask(ctx, page.Orders)
			if err != nil { // without an answer for one batch there will be none for the next
				return errors.Join(append(errs, err)...)
			}
			errs = append(errs, h.settle(ctx, page.Orders, states), h.act(ctx, acting, page.Orders, states))
		}
		switch {
		case page.Last && wrapped:
			h.after = store.Place{}
			return errors.Join(errs...)
		case page.Last:
			h.after, wrapped = store.Place{}, true
		case wrapped && begin != store.Place{} && h.after.Compare(begin) >= 0:
			return errors.Join(errs...)
		}
	}
}

func (h *Healer) ask(ctx context.Context, orders []store.Due) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	numbers := make([]string, len(orders))
	for i, o := range orders {
		numbers[i] = o.OrderNo
	}
	states, err := h.Inventory.States(ctx, numbers)
	if err != nil {
		return nil, fmt.Errorf("read the states at inventory: %w", err)
	}
	return states, nil
}

// settle marks the orders with which inventory agrees.
func (h *Healer) settle(ctx context.Context, orders []store.Due, states map[string]string) error {
	agreed := map[order.Status][]string{}
	for _, o := range orders {
		if agrees(o.Status, states[o.OrderNo]) {
			agreed[o.Status] = append(agreed[o.Status], o.OrderNo)
		}
	}
	var errs []error
	for status, orderNos := range agreed {
		_, err := h.Store.Settle(ctx, status, orderNos)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// act confirms or releases the orders with which inventory does not agree although messages have had their time.
func (h *Healer) act(ctx context.Context, until time.Time, orders []store.Due, states map[string]string) error {
	disagreed := map[string]store.Due{}
	var numbers []string
	for _, o := range orders {
		if o.Age >= h.Timers.ReconcileAfter && !agrees(o.Status, states[o.OrderNo]) {
			disagreed[o.OrderNo] = o
			numbers = append(numbers, o.OrderNo)
		}
	}
	return each(ctx, until, h.actLater, numbers, func(ctx context.Context, orderNo string) error { return h.reconcileOrder(ctx, disagreed[orderNo]) })
}

// agrees: "absent" is no agreement, as a reserve may still be on its way; the tombstone is.
func agrees(status order.Status, state string) bool {
	if status == order.Paid {
		return state == inventoryapi.StateConfirmed
	}
	return state == inventoryapi.StateReleased || state == inventoryapi.StateVoid
}

// reconcileOrder confirms a PAID order and releases any other.
func (h *Healer) reconcileOrder(ctx context.Context, o store.Due) error {
	h.Log.WarnContext(ctx, "inventory does not agree with an ended order", "order_no", o.OrderNo, "status", o.Status)
	if o.Status == order.Paid {
		return h.confirm(ctx, o)
	}
	err := h.Inventory.Release(ctx, o.OrderNo)
	switch {
	case err == nil:
		return h.reconciled(ctx, o)
	case errors.Is(err, inventoryapi.ErrConfirmed): // no healer can correct it, and it must not look settled
		return h.alarm(ctx, o.OrderNo, o.Status)
	}
	return fmt.Errorf("release %s: %w", o.OrderNo, err)
}

// reconciled settles an order that this reconciler has confirmed or released. Another replica may do the same at the
// same time, which changes nothing; only one of them counts the order.
func (h *Healer) reconciled(ctx context.Context, o store.Due) error {
	n, err := h.Store.MarkReconciled(ctx, o.Status, o.OrderNo)
	h.reconcile.Add(float64(n))
	return err
}

func (h *Healer) confirm(ctx context.Context, o store.Due) error {
	err := h.Inventory.Confirm(ctx, o.OrderNo)
	switch {
	case err == nil:
		return h.reconciled(ctx, o)
	case errors.Is(err, inventoryapi.ErrClosed), errors.Is(err, inventoryapi.ErrUnknownOrder), errors.Is(err, inventoryapi.ErrStockLost):
		won, dbErr := h.Store.RefundDue(ctx, o.OrderNo, fault.From(err).Code)
		if won {
			h.reconcile.Inc()
			h.Log.ErrorContext(ctx, "a paid order has no stock, the buyer is owed a refund", "order_no", o.OrderNo, "err", err)
		}
		return dbErr
	}
	return fmt.Errorf("confirm %s: %w", o.OrderNo, err)
}

// alarm reports, once for each order, units that count as sold for an order that does not have them. It returns
// errBeyondHealing, or what kept it from noting the report. status is empty when there is no order.
func (h *Healer) alarm(ctx context.Context, orderNo string, status order.Status) error {
	first, err := h.Store.ReportSold(ctx, orderNo)
	if err != nil {
		return err
	}
	if first {
		h.Alarms.Inc()
		h.Log.ErrorContext(ctx, "units count as sold, but no order has bought them", "order_no", orderNo, "status", status)
	}
	return errBeyondHealing
}

// Run repeats Sweep, Reconcile and ReleaseUnknown until ctx is done, each in a loop of its own: an inventory that
// does not answer delays none that does not need it.
func (h *Healer) Run(ctx context.Context) {
	every := max(100*time.Millisecond, min(h.Timers.SettleAfter, h.Timers.SweepAfter)/2)
	var running sync.WaitGroup
	running.Go(func() { h.repeat(ctx, every, "sweep", h.Sweep) })
	running.Go(func() { h.repeat(ctx, every, "reconcile", h.Reconcile) })
	running.Go(func() { h.repeat(ctx, max(every, h.Timers.ReconcileAfter/12), "release unknown", h.ReleaseUnknown) })
	running.Wait()
}

func (h *Healer) repeat(ctx context.Context, every time.Duration, what string, pass func(context.Context) error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		h.pass(ctx, what, pass)
	}
}

func (h *Healer) pass(ctx context.Context, what string, pass func(context.Context) error) {
	once, cancel := context.WithTimeout(ctx, passTime)
	defer cancel()
	if err := pass(once); err != nil && ctx.Err() == nil {
		h.Log.WarnContext(ctx, "healer pass failed", "pass", what, "err", err)
	}
}
