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

// poll is the pause between two reads of the position.
const poll = 2 * time.Millisecond

// openTime is how long a change to the layout redis waits for Redis to open.
const openTime = 5 * time.Second

// Open returns when Redis is open, so that SKUs may enter the layout redis.
func (c *Counters) Open(ctx context.Context) error {
	if err := c.checkServer(ctx); err != nil {
		return err
	}
	return c.awaitOpen(ctx)
}

// awaitOpen starts the election and waits until the writer has opened Redis.
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

// Drain returns when the free units of a SKU that leaves Redis have returned and the SKU has its new layout. The writer
// finishes the move if ctx ends first. Drain closes the SKU before each check, also one without free units: units that
// orders return would stay in Redis otherwise.
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

// closeSKU closes a SKU that leaves Redis and returns its free units. It first allocates in Redis the units that MySQL
// has allocated.
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

// Settled returns when MySQL has applied all that Redis had answered before the call.
func (c *Counters) Settled(ctx context.Context) error {
	p, err := c.Position(ctx)
	if err != nil || p.Epoch == 0 {
		return err // or Redis was never opened
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

// lastEntry returns the newest entry's id, or "" when there is no log because of a rebuild.
func (c *Counters) lastEntry(ctx context.Context) (string, error) {
	last, err := c.cfg.Client.XRevRangeN(ctx, c.keys[1], "+", "-", 1).Result()
	if err != nil || len(last) == 0 {
		return "", err
	}
	return last[0].ID, nil
}

// Probe is a readiness check: Redis is open, or was never opened. Another check covers MySQL.
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

// EndsUnknown reports whether any SKU was ever stored in Redis. Once true it stays true.
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
