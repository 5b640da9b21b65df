package mq

import (
	"context"
	"errors"
	"time"

	"holdfast/pkg/wait"
)

const (
	watchPause  = time.Second      // between two looks at the broker's store
	watchTime   = 10 * time.Second // of one look; milliseconds as a rule
	discardTime = 10 * time.Second // for the handlers of consumers that are discarded
)

// watch looks at the broker's store each second until Close. When the store is a new one, or lacks topics, they are
// created, and the consumers are replaced. So they are when the broker was away, also for a moment: a consumer of the
// client library does not notice that its connection is lost, waits for the answer to its pull for 30 s, and pauses for
// 3 s. Nothing happens while the broker is away.
func (b *Bus) watch(c *connection) {
	ctx, stop := context.WithCancel(b.work)
	b.stopWatch = stop
	b.watching.Go(func() {
		k := &kept{conns: map[string]*wire{}}
		defer k.close()
		for ctx.Err() == nil {
			b.look(ctx, c, k)
			_ = wait.Sleep(ctx, watchPause)
		}
	})
}

// kept are the connections on which the watch looks. They stay open from look to look: one that is lost says that those
// of the consumers are lost, also when the broker is back before the next look.
type kept struct {
	conns map[string]*wire // by address
	lost  bool             // since the consumers were started
}

// on is a visit on a connection that is kept.
func (k *kept) on(ctx context.Context, addr string, f func(w *wire) error) error {
	if w, ok := k.conns[addr]; ok {
		err := f(w)
		if inStep(err) {
			return err
		}
		w.close()
		delete(k.conns, addr)
		if timedOut(err) {
			return err
		}
		k.lost = true
	}
	w, err := dialWire(ctx, addr)
	if err != nil {
		return err
	}
	if err = f(w); !inStep(err) {
		w.close()
		return err
	}
	k.conns[addr] = w
	return err
}

func (k *kept) close() {
	for _, w := range k.conns {
		w.close()
	}
}

// inStep reports whether a connection can be used after err.
func inStep(err error) bool {
	_, answered := errors.AsType[*wireError](err)
	return err == nil || answered
}

// look makes one look at the broker's store.
func (b *Bus) look(ctx context.Context, c *connection, k *kept) {
	looking, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	store, err := b.identify(looking, k.on)
	if err != nil {
		k.lost = k.lost || !timedOut(err)
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
	known := b.store.Load()
	if created == 0 && store == known && !k.lost {
		return
	}
	if err := b.replaceConsumers(ctx, c, store); err != nil {
		b.cfg.Log.WarnContext(ctx, "message bus cannot start its consumers yet", "store", store, "err", err)
		return
	}
	b.cfg.Log.WarnContext(ctx, "consumers replaced", "store", store, "new_store", store != known, "new_topics", created, "broker_was_away", k.lost)
	k.lost = false
}

// timedOut reports whether a look took too long. The connections of the consumers may be sound then: a machine or a
// broker is busy. A connection that was refused or closed says that theirs are closed too.
func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
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
