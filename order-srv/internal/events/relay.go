// Package events sends order-srv's messages, through the outbox's relay, and handles those that it receives.
package events

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/internal/crash"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/mq"
	"holdfast/pkg/telemetry"
)

const (
	workers   = 4                      // shards that are sent at the same time
	lease     = 10 * time.Second       // how long a shard stands still when its relay dies
	idlePause = 500 * time.Millisecond // between looks when nothing tells us
	rest      = 500 * time.Millisecond // of a shard after a failure
	batch     = 64                     // messages between two marks; a crash sends at most so many again
	markTime  = 2 * time.Second        // for marking, which must not be cut short by a stop
	maxDelay  = 71 * time.Hour         // an hour less than the broker's limit, so that clocks may differ

	// tooMany failures in one batch are the broker's fault, not a message's.
	tooMany = 3
)

// Relay sends what the outbox holds. Each worker leases a shard, sends its messages in the order in which they were
// written, marks them, and gives the shard up, so that any number of replicas share the work and one order's messages
// never overtake each other. A message is sent again when we die between sending and marking: at least once, never not
// at all.
type Relay struct {
	store *store.Store
	send  mq.Producer
	log   *slog.Logger
}

// NewRelay returns a relay. Run runs it.
func NewRelay(s *store.Store, send mq.Producer, log *slog.Logger) *Relay {
	return &Relay{store: s, send: send, log: log}
}

// Run relays until ctx is done, then gives its leases up and returns.
func (r *Relay) Run(ctx context.Context) {
	var running sync.WaitGroup
	for range workers {
		running.Go(func() { r.work(ctx) })
	}
	running.Wait()
}

// work waits for a commit, or for a while, and then sends until there is no shard left to lease.
func (r *Relay) work(ctx context.Context) {
	tick := time.NewTicker(idlePause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.store.Notify():
		}
		for worked := true; worked && ctx.Err() == nil; {
			var err error
			worked, err = r.shard(ctx)
			if err != nil && ctx.Err() == nil {
				r.log.WarnContext(ctx, "relay pass failed, the next one goes on", "err", err)
				worked = false
			}
		}
	}
}

// hold is a leased shard. until is our own clock's idea of the lease's end, never later than the database's.
type hold struct {
	owner string
	shard int
	until time.Time
}

// shard leases one shard and sends what it holds. worked is false when there was none to lease.
func (r *Relay) shard(ctx context.Context) (worked bool, err error) {
	h := hold{owner: ulid.Make().String(), until: time.Now().Add(lease)}
	var ok bool
	if h.shard, ok, err = r.store.Claim(ctx, h.owner, lease); err != nil || !ok {
		return false, err
	}
	r.store.Kick() // other shards may have work for another worker
	clean, err := r.drain(ctx, &h)
	pause := rest
	if clean {
		pause = 0
	}
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), markTime)
	defer cancel()
	if leaveErr := r.store.GiveUp(bye, h.owner, h.shard, pause); err == nil {
		err = leaveErr
	}
	return true, err
}

// drain sends batches until the shard is empty. clean is false when something is left.
func (r *Relay) drain(ctx context.Context, h *hold) (clean bool, err error) {
	stuck := map[string]bool{} // shard keys with a message that failed: the later ones wait for it
	for ctx.Err() == nil && len(stuck) < tooMany {
		if err := r.renew(ctx, h); err != nil {
			return false, err
		}
		messages, err := r.store.Unsent(ctx, h.shard, slices.Collect(maps.Keys(stuck)), batch)
		if err != nil || len(messages) == 0 {
			return err == nil && len(stuck) == 0, err
		}
		if err := r.batch(ctx, h, messages, stuck); err != nil {
			return false, err
		}
	}
	return false, nil
}

// renew extends a lease that is half over.
func (r *Relay) renew(ctx context.Context, h *hold) error {
	if time.Until(h.until) > lease/2 {
		return nil
	}
	until := time.Now().Add(lease)
	if err := r.store.Renew(ctx, h.owner, h.shard, lease); err != nil {
		return fmt.Errorf("renew the lease of shard %d: %w", h.shard, err)
	}
	h.until = until
	return nil
}

// batch sends messages in order, outside of any transaction and not beyond the lease, and marks them.
func (r *Relay) batch(ctx context.Context, h *hold, messages []store.Outgoing, stuck map[string]bool) error {
	sending, cancel := context.WithDeadline(ctx, h.until)
	defer cancel()
	var sent, failed []int64
	for _, m := range messages {
		if stuck[m.ShardKey] {
			continue
		}
		if sending.Err() != nil || len(stuck) >= tooMany {
			break
		}
		if err := r.publish(sending, m); err != nil {
			stuck[m.ShardKey] = true
			failed = append(failed, m.ID)
			r.log.WarnContext(ctx, "message not sent, tried again later", "event_id", m.EventID, "topic", m.Topic, "err", err)
			continue
		}
		crash.At(crash.OrderPublished)
		sent = append(sent, m.ID)
	}
	mark, done := context.WithTimeout(context.WithoutCancel(ctx), markTime)
	defer done()
	if err := r.store.Sent(mark, sent); err != nil {
		return err
	}
	return r.store.Failed(mark, failed)
}

// publish sends one message. What is to be delivered later than the broker can keep it comes early; its consumer finds
// that out.
func (r *Relay) publish(ctx context.Context, m store.Outgoing) error {
	if latest := time.Now().Add(maxDelay); m.DeliverAt.After(latest) {
		m.DeliverAt = latest
	}
	return r.send.Send(telemetry.WithRequestID(ctx, m.RequestID), mq.Message{
		Topic: m.Topic, Key: m.ShardKey, ShardKey: m.ShardKey, Body: []byte(m.Payload), DeliverAt: m.DeliverAt,
	})
}
