package redisstock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/pkg/lock"
	"holdfast/pkg/wait"
)

// Locker is what the election needs of pkg/lock.
type Locker interface {
	Acquire(ctx context.Context, keys ...string) (*lock.Lease, error)
	Raise(ctx context.Context, key string, atLeast int64) error
}

// WriterKey is the lock of the writer.
const WriterKey = "redis-stock-writer"

const (
	// pollInterval is how often an idle writer checks for losses, and every replica for a new epoch.
	pollInterval = time.Second
	// readEntries is how many entries one transaction applies.
	readEntries = 1000
	// failurePause is the pause after a failure.
	failurePause = 200 * time.Millisecond
	// readTimeout bounds one read of the stream beyond its blocking time.
	readTimeout = 2 * time.Second
)

// errNotOpen is an epoch that another one has to follow.
type errNotOpen struct {
	loss *Loss // nil: it was never opened
}

// Error implements error.
func (e *errNotOpen) Error() string {
	if e.loss == nil {
		return "the epoch was never opened"
	}
	return "Redis has lost entries: " + e.loss.Reason
}

// Run keeps Redis and MySQL in step until ctx ends. Every replica notices new epochs. The elected one, the writer,
// applies the stream, compensates what MySQL refuses, finishes moves, and rebuilds what Redis has lost. Run does
// nothing before the first SKU is stored in Redis.
func (c *Counters) Run(ctx context.Context) {
	if c.cfg.Idle {
		c.Watch(ctx)
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { c.Watch(ctx) })
	for c.awaitStock(ctx) {
		if err := c.lead(ctx); err != nil && ctx.Err() == nil {
			c.cfg.Log.WarnContext(ctx, "the writer of the Redis stream starts again", "err", err)
			_ = wait.Sleep(ctx, failurePause)
		}
	}
}

// awaitStock returns true as soon as a SKU is stored in Redis or is to be, and false when ctx ends.
func (c *Counters) awaitStock(ctx context.Context) bool {
	for {
		if in, err := c.InRedis(ctx); err == nil && in {
			return ctx.Err() == nil
		}
		select {
		case <-c.wake:
			return true
		case <-ctx.Done():
			return false
		case <-time.After(pollInterval):
		}
	}
}

// lead is one leadership term. It ends with its lease, which the holder releases from time to time.
func (c *Counters) lead(ctx context.Context) (err error) {
	lease, err := c.cfg.Locker.Acquire(ctx, WriterKey)
	if err != nil {
		return fmt.Errorf("election: %w", err)
	}
	defer func() {
		if e := lease.Release(ctx); e != nil && ctx.Err() == nil {
			c.cfg.Log.WarnContext(ctx, "the writer's lease is not released, it ends by itself", "err", e)
		}
	}()
	w := &writer{Counters: c, token: lease.Token(WriterKey)}
	work := lease.Context()
	err = w.serve(work)                             //nolint:contextcheck // the lease derives its context from ctx
	if cause := context.Cause(work); cause != nil { //nolint:contextcheck // as above
		err = cause // the lease caused every later failure
	}
	if errors.Is(err, lock.ErrMaxHold) {
		return nil // the next term begins at once, in some replica
	}
	return err
}

// writer is the elected replica. Each of its transactions checks the fence.
type writer struct {
	*Counters
	token    int64
	position Position
}

func (w *writer) serve(ctx context.Context) error {
	if err := w.checkServer(ctx); err != nil {
		return err
	}
	if err := w.scripts.read.Load(ctx, w.cfg.Client).Err(); err != nil { // a server that loses the script ends this term
		return fmt.Errorf("load a script: %w", err)
	}
	if err := w.claim(ctx); err != nil {
		return err
	}
	if err := w.ready(ctx); err != nil {
		return err
	}
	var polled time.Time
	for ctx.Err() == nil {
		if time.Since(polled) > pollInterval {
			if err := w.maintain(ctx); err != nil {
				return err
			}
			polled = time.Now()
		}
		n, err := w.follow(ctx, false)
		if broken, ok := errors.AsType[*errNotOpen](err); ok {
			err = w.rebuild(ctx, broken.loss)
		}
		if err != nil {
			return err
		}
		if n == 0 {
			w.wait(ctx)
		}
	}
	return nil
}

// claim claims the fence with this lease's token. A Redis that has lost its counters gives old tokens: claim raises the
// counter, and the next lease has a new token.
func (w *writer) claim(ctx context.Context) error {
	p, err := w.ClaimWriting(ctx, w.token)
	if !errors.Is(err, ErrStaleWriter) {
		w.position = p
		return err
	}
	newest, readErr := w.ledger.NewestFence(ctx)
	if readErr != nil {
		return readErr
	}
	if newest >= w.token {
		err = errors.Join(err, w.cfg.Locker.Raise(ctx, WriterKey, newest))
	}
	return err
}

// ready makes sure that an epoch is open.
func (w *writer) ready(ctx context.Context) error {
	if w.position.Epoch == 0 || !w.position.Open {
		return w.rebuild(ctx, nil)
	}
	if err := w.acknowledgeApplied(ctx); err != nil {
		return err
	}
	return w.refresh(ctx)
}

// checkServer refuses a Redis that evicts keys when its memory is full: an evicted counter looks like a lost one, and
// an evicted order like an unknown one.
func (c *Counters) checkServer(ctx context.Context) error {
	info, err := c.cfg.Client.Info(ctx, "memory").Result()
	if err != nil {
		return errRedis.NotExecuted().Wrap(err)
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "maxmemory_policy" && value != "noeviction" {
			return errEvicts.With("maxmemory_policy", value)
		}
	}
	return nil
}

// wait returns when an entry has arrived, or after pollInterval.
func (w *writer) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pollInterval+readTimeout)
	defer cancel()
	err := w.cfg.Client.XRead(ctx, &redis.XReadArgs{Streams: []string{w.keys[1], w.position.AppliedID}, Count: 1, Block: pollInterval}).Err()
	if err != nil && !errors.Is(err, redis.Nil) {
		_ = wait.Sleep(ctx, failurePause) // the next read returns the cause
	}
}

// maintain does the writer's periodic work.
func (w *writer) maintain(ctx context.Context) error {
	if err := w.checkServer(ctx); err != nil {
		return err
	}
	if err := w.compensate(ctx); err != nil {
		return err
	}
	moving, err := w.cfg.Store.Moving(ctx)
	if err != nil {
		return err
	}
	for _, sku := range moving {
		if err := w.closeSKU(ctx, sku); err != nil {
			return err
		}
		if _, err := w.cfg.Store.EndMove(ctx, sku); err != nil {
			return err
		}
	}
	return nil
}

// compensate compensates in Redis the entries that MySQL has refused.
func (w *writer) compensate(ctx context.Context) error {
	refused, err := w.ToCompensate(ctx, w.position.Epoch)
	if err != nil {
		return err
	}
	for _, r := range refused {
		answer, err := w.run(ctx, w.scripts.compensate, r.OrderNo, FormatLines(r.Lines), r.Sign)
		if err != nil {
			return err
		}
		if err := shut(answer); err != nil {
			return err
		}
		w.metrics.refused.Inc()
		w.cfg.Log.WarnContext(ctx, "the ledger refused what the stream had granted, undone", "order_no", r.OrderNo, "entry", r.EntryID)
		if err := w.MarkCompensated(ctx, w.position.Epoch, r.EntryID); err != nil {
			return err
		}
	}
	return nil
}
