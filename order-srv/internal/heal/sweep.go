package heal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/order-srv/internal/store"
)

// abandonTime bounds the transaction that abandons a batch. It ends later only when the server is slow or when another
// transaction holds one of the rows.
const abandonTime = 5 * time.Second

// Sweep ends orders that nothing else ended: it abandons old PENDING ones and expires overdue PLACED ones. The error
// joins what went wrong; an order that fails is set aside and does not delay the others. Sweep must not run twice at
// the same time on one healer.
func (h *Healer) Sweep(ctx context.Context) error {
	return errors.Join(h.abandon(ctx), h.expire(ctx))
}

// abandon ends old PENDING orders in one transaction, or each in a transaction of its own when that fails: one row that
// another transaction holds would otherwise keep the whole batch PENDING.
func (h *Healer) abandon(ctx context.Context) error {
	stale, err := h.Store.Stale(ctx, h.Timers.SweepAfter, batch+h.sweepLater.size())
	if err != nil {
		return err
	}
	stale = slices.DeleteFunc(stale, func(no string) bool { return !h.sweepLater.due(no) })
	if len(stale) == 0 {
		return nil
	}
	together, cancel := context.WithTimeout(ctx, abandonTime)
	n, err := h.Store.Abandon(together, stale, h.Timers.SweepAfter, true, store.Sweeper)
	cancel()
	h.sweeper.Add(float64(n))
	if err == nil {
		return nil
	}
	h.Log.WarnContext(ctx, "sweeper could not abandon a batch, abandons its orders one by one", "orders", len(stale), "err", err)
	return each(ctx, time.Now().Add(actTime), h.sweepLater, stale, func(ctx context.Context, orderNo string) error {
		n, err := h.Store.Abandon(ctx, []string{orderNo}, h.Timers.SweepAfter, true, store.Sweeper)
		h.sweeper.Add(float64(n))
		if err != nil {
			return fmt.Errorf("abandon %s: %w", orderNo, err)
		}
		return nil
	})
}

func (h *Healer) expire(ctx context.Context) error {
	overdue, err := h.Store.Overdue(ctx, h.Timers.SweepAfter, batch+h.sweepLater.size())
	if err != nil {
		return err
	}
	return each(ctx, time.Now().Add(actTime), h.sweepLater, overdue, func(ctx context.Context, orderNo string) error {
		outcome, err := h.Store.Expire(ctx, orderNo, h.Timers.SweepAfter, store.Sweeper)
		if err != nil {
			return fmt.Errorf("expire %s: %w", orderNo, err)
		}
		if outcome == store.Expired {
			h.sweeper.Inc()
		}
		return nil
	})
}
