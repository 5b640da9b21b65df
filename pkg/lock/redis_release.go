package lock

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// extend implements claim.
func (c *redisClaim) extend(ctx context.Context, ttl time.Duration) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, c.set.callTimeout())
	defer cancel()
	sent := time.Now()
	extended, err := run(ctx, c.backend.client, c.backend.scripts.extend, c.locks, c.value, ttl.Milliseconds()).Int64()
	switch {
	case err != nil:
		return time.Time{}, unavailable(err)
	case extended == 0:
		return time.Time{}, fmt.Errorf("%w: the key is gone or another owner's", ErrLost)
	}
	c.until = sent.Add(ttl - c.set.drift())
	return c.until, nil
}

// drop implements claim. A release without an answer is repeated once, so that a connection that broke does not block
// others for the whole TTL.
func (c *redisClaim) drop(ctx context.Context) error {
	freed, err := c.release(ctx)
	if err != nil {
		freed, err = c.release(ctx)
	}
	switch {
	case err != nil:
		return unavailable(err)
	case !freed:
		return fmt.Errorf("%w: a key was gone or another owner's at the end", ErrLost)
	}
	return nil
}

// release runs the release script and reports whether all locks were the claim's. A lock that is not, though it cannot
// have expired yet, was freed by an earlier release without an answer; if it is another owner's now, a waiter has taken
// it.
func (c *redisClaim) release(ctx context.Context) (freed bool, err error) {
	valid := time.Now().Before(c.until)
	reply, err := run(ctx, c.backend.client, c.backend.scripts.release, c.locks, c.value, c.backend.names.channel()).Int64()
	if err != nil {
		c.unanswered = true
		return false, err
	}
	return reply == releasedAll || c.unanswered && valid, nil
}

// giveUp implements claim. If Redis does not answer, the keeps expire.
func (c *redisClaim) giveUp(ctx context.Context) {
	if !c.tickets.drawn() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.set.callTimeout())
	defer cancel()
	b := c.backend
	_ = run(ctx, b.client, b.scripts.giveUp, slices.Concat(c.locks, c.tickets.keeps), c.owner, b.names.channel()).Err()
}
