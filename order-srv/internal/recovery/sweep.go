package recovery

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/store"
)

// recoverTime bounds the recovery of a batch. It takes longer only when the server is slow or when another transaction
// holds one of the rows.
const recoverTime = 5 * time.Second

// stepsOfPass bounds the pages of orders that one pass looks at. The next pass goes on there.
const stepsOfPass = 20

// Sweep ends orders that nothing else ended: it has old PENDING ones recovered by their flows and expires overdue
// PLACED ones. The error joins what went wrong; an order that fails is set aside and does not delay the others. Sweep
// must not run twice at the same time on one healer.
func (h *Healer) Sweep(ctx context.Context) error {
	return errors.Join(h.recoverStale(ctx), h.expire(ctx))
}

// recoverStale has the flows end their old PENDING orders.
func (h *Healer) recoverStale(ctx context.Context) error {
	youngest := time.Duration(math.MaxInt64)
	for _, f := range h.Flows.All() {
		youngest = min(youngest, f.StalePending())
	}
	var errs []error
	for range stepsOfPass {
		pending, next, done, err := h.Store.Stale(ctx, youngest, h.swept)
		h.swept = next
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for name, f := range h.Flows.All() {
			errs = append(errs, h.recover(ctx, name, f, h.stale(pending, name, f)))
		}
		if done {
			break
		}
	}
	return errors.Join(errs...)
}

// stale returns the orders that the flow is to recover now.
func (h *Healer) stale(pending []store.Pending, name string, f flow.Flow) []string {
	var stale []string
	for _, o := range pending {
		if o.Flow == name && o.Age > f.StalePending() && h.sweepLater.due(o.OrderNo) {
			stale = append(stale, o.OrderNo)
		}
	}
	return stale
}

// recover has a flow end its old PENDING orders together, or one by one when that fails: one row that another
// transaction holds would otherwise keep the whole batch PENDING.
func (h *Healer) recover(ctx context.Context, name string, f flow.Flow, stale []string) error {
	if len(stale) == 0 {
		return nil
	}
	together, cancel := context.WithTimeout(ctx, recoverTime)
	n, err := f.Recover(together, stale)
	cancel()
	h.sweeper.Add(float64(n))
	if err == nil {
		return nil
	}
	h.Log.WarnContext(ctx, "sweeper could not recover a batch, recovers its orders one by one", "flow", name, "orders", len(stale), "err", err)
	return each(ctx, time.Now().Add(actTime), h.sweepLater, stale, func(ctx context.Context, orderNo string) error {
		n, err := f.Recover(ctx, []string{orderNo})
		h.sweeper.Add(float64(n))
		if err != nil {
			return fmt.Errorf("recover %s: %w", orderNo, err)
		}
		return nil
	})
}

// expire expires overdue orders, a page at a time.
func (h *Healer) expire(ctx context.Context) error {
	var errs []error
	for range stepsOfPass {
		page, err := h.Store.Overdue(ctx, h.Timers.SweepAfter, h.overdueAfter, batch)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, h.expirePage(ctx, page))
		h.overdueAfter = page.Next
		if page.Last {
			h.overdueAfter = store.Place{}
			break
		}
	}
	return errors.Join(errs...)
}

// expirePage expires orders together, and one by one those whose rows others have locked, or all when that fails.
func (h *Healer) expirePage(ctx context.Context, page store.Page) error {
	var overdue []string
	for _, o := range page.Orders {
		if h.sweepLater.due(o.OrderNo) {
			overdue = append(overdue, o.OrderNo)
		}
	}
	if len(overdue) == 0 {
		return nil
	}
	together, cancel := context.WithTimeout(ctx, recoverTime)
	locked, err := h.expireOrders(together, overdue, len(overdue) > 1)
	cancel()
	if err != nil {
		h.Log.WarnContext(ctx, "sweeper could not expire a batch, expires its orders one by one", "orders", len(overdue), "err", err)
		locked = overdue
	}
	return each(ctx, time.Now().Add(actTime), h.sweepLater, locked, func(ctx context.Context, orderNo string) error {
		if _, err := h.expireOrders(ctx, []string{orderNo}, false); err != nil {
			return fmt.Errorf("expire %s: %w", orderNo, err)
		}
		return nil
	})
}

func (h *Healer) expireOrders(ctx context.Context, orderNos []string, skipLocked bool) (locked []string, err error) {
	outcomes, locked, err := h.Store.Expire(ctx, orderNos, h.Timers.SweepAfter, store.Sweeper, skipLocked)
	for _, outcome := range outcomes {
		if outcome == store.Expired {
			h.sweeper.Inc()
		}
	}
	return locked, err
}
