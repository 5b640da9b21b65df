package mq

import (
	"context"
	"time"

	"holdfast/pkg/wait"
)

const (
	watchPause  = time.Second      // between two looks at the broker's store
	watchTime   = 10 * time.Second // of one look; milliseconds as a rule
	discardTime = 10 * time.Second // for the handlers of consumers that are discarded
)

// watch looks at the broker's store each second until Close. When the store is a new one, or lacks topics, they are
// created, and the consumers are replaced. Nothing happens while the broker is away.
func (b *Bus) watch(c *connection) {
	ctx, stop := context.WithCancel(b.work)
	b.stopWatch = stop
	b.watching.Go(func() {
		for wait.Sleep(ctx, watchPause) == nil {
			b.look(ctx, c)
		}
	})
}

// look makes one look at the broker's store.
func (b *Bus) look(ctx context.Context, c *connection) {
	looking, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	store, err := b.identify(looking)
	if err != nil {
		return // the broker is away: sends and Probe say so
	}
	created, err := b.ensureTopics(looking, store)
	if created > 0 {
		b.cfg.Log.WarnContext(ctx, "broker lacked topics, created", "store", store, "topics", created)
	}
	if err != nil {
		b.cfg.Log.WarnContext(ctx, "message bus cannot create topics yet", "err", err)
		return
	}
	if created == 0 && store == b.store.Load() {
		return
	}
	if err := b.replaceConsumers(ctx, c, store); err != nil {
		b.cfg.Log.WarnContext(ctx, "message bus cannot start its consumers yet", "store", store, "err", err)
		return
	}
	b.cfg.Log.WarnContext(ctx, "consumers replaced, for a new store of the broker or for new topics", "store", store)
}

// replaceConsumers discards the consumers and starts others for a store. After an error there are none, and the next
// look tries again. The consumers that are discarded store their offsets, under the names of their own store.
func (b *Bus) replaceConsumers(ctx context.Context, c *connection, store int64) error {
	b.store.Store(0)
	if c.consumers != nil {
		draining, cancel := context.WithTimeout(ctx, discardTime)
		defer cancel()
		if err := c.consumers.drain(draining); err != nil {
			b.cfg.Log.WarnContext(ctx, "consumers are discarded with a handler running", "err", err)
		}
		c.consumers.shutdown()
		c.consumers = nil
	}
	if err := b.awaitRoutes(ctx, store); err != nil {
		return err
	}
	fresh, err := b.startConsumers(ctx, store)
	if err != nil {
		return err
	}
	c.consumers = fresh
	b.store.Store(store)
	return nil
}
