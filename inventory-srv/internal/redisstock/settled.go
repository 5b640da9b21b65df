package redisstock

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/fault"
	"holdfast/pkg/wait"
)

// poll is how long to wait between two looks at how far MySQL has come.
const poll = 2 * time.Millisecond

// openTime is how long a change to the layout redis waits for Redis to be open.
const openTime = 5 * time.Second

// Open returns when SKUs may enter the layout redis: Redis is open then.
func (c *Counters) Open(ctx context.Context) error {
	if err := c.checkServer(ctx); err != nil {
		return err
	}
	return c.awaitOpen(ctx)
}

// awaitOpen wakes the writer, who waits for the first SKU, and gives it a moment to open Redis.
func (c *Counters) awaitOpen(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	for {
		select {
		case c.wake <- struct{}{}:
		default:
		}
		p, err := c.Position(ctx)
		switch {
		case err == nil && p.Open:
			return c.refresh(ctx)
		case wait.Sleep(ctx, poll) != nil:
			return errShut.Wrap(errors.Join(ctx.Err(), err))
		}
	}
}

// Drain returns when the free units of a SKU that leaves Redis are unallocated stock and the SKU has its new layout. If ctx ends first,
// the writer does the rest. It closes the SKU before each look at whether all is back: a SKU that has nothing left needs it too, or what its orders give
// back would stay in Redis.
func (c *Counters) Drain(ctx context.Context, sku string) error {
	for {
		if err := c.closeSKU(ctx, sku); err != nil {
			return err
		}
		if done, err := c.cfg.Store.EndMove(ctx, sku); err != nil || done {
			return err
		}
		if wait.Sleep(ctx, poll) != nil {
			return stock.ErrContended.Wrap(ctx.Err())
		}
	}
}

// closeSKU closes a SKU that is on its way out and sends what it has back. Before that Redis is told of units that were laid out for
// it and of which it may not have heard.
func (c *Counters) closeSKU(ctx context.Context, sku string) error {
	row, err := c.RedisRow(ctx, sku)
	if err != nil {
		return err
	}
	if _, err := c.do(ctx, c.allocateCall(row, false)); err != nil {
		return err
	}
	_, err = c.do(ctx, call{script: c.scripts.close, args: []any{sku, row.Opening}, operation: EntryClose})
	return err
}

// AwaitFollowed returns when MySQL has applied an entry of that epoch.
func (c *Counters) AwaitFollowed(ctx context.Context, epoch int64, id string) error {
	for {
		p, err := c.Position(ctx)
		switch {
		case err == nil && p.Epoch != epoch:
			return errShut.MaybeExecuted().WithText("the stock in Redis was rebuilt meanwhile, retry")
		case err == nil && !before(p.AppliedID, id):
			return nil
		}
		if wait.Sleep(ctx, poll) != nil {
			return fault.ErrTimeout.Wrap(errors.Join(ctx.Err(), err))
		}
	}
}

// before reports whether entry a comes before entry b. Ids are two numbers, "milliseconds-sequence".
func before(a, b string) bool {
	am, as := splitID(a)
	bm, bs := splitID(b)
	return am < bm || am == bm && as < bs
}

func splitID(id string) (ms, sequence int64) {
	left, right, _ := strings.Cut(id, "-")
	ms, _ = strconv.ParseInt(left, 10, 64)
	sequence, _ = strconv.ParseInt(right, 10, 64)
	return ms, sequence
}

// Settled returns when MySQL has followed all that Redis had answered before the call: for those who compare the two.
func (c *Counters) Settled(ctx context.Context) error {
	p, err := c.Position(ctx)
	if err != nil || p.Epoch == 0 {
		return err // or nothing was ever there
	}
	for last := ""; ; {
		if last == "" {
			last, err = c.lastEntry(ctx)
		}
		if last != "" {
			p, err = c.Position(ctx)
			if err == nil && p.Open && !before(p.AppliedID, last) {
				return nil
			}
		}
		if wait.Sleep(ctx, poll) != nil {
			return errShut.Wrap(errors.Join(ctx.Err(), err))
		}
	}
}

// lastEntry returns the newest entry's id, or "" when there is no log, which is being rebuilt then.
func (c *Counters) lastEntry(ctx context.Context) (string, error) {
	last, err := c.cfg.Client.XRevRangeN(ctx, c.keys[1], "+", "-", 1).Result()
	if err != nil || len(last) == 0 {
		return "", err
	}
	return last[0].ID, nil
}

// Probe is a readiness check: Redis is open, or was never asked to be. That MySQL answers is another check's business.
func (c *Counters) Probe(ctx context.Context) error {
	p, err := c.Position(ctx)
	switch {
	case err != nil || p.Epoch == 0:
		return nil //nolint:nilerr // see above
	case !p.Open:
		return errShut
	}
	return c.checkServer(ctx)
}

// EndsUnknown reports whether any SKU was ever stored in Redis. Once true it stays so.
func (c *Counters) EndsUnknown(ctx context.Context) (bool, error) {
	if c.inUse.Load() {
		return true, nil
	}
	found, err := c.InRedis(ctx)
	if found {
		c.inUse.Store(true)
	}
	return found, err
}
