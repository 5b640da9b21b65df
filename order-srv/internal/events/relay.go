// Package events sends order-srv's messages, through the outbox's relay, and handles those that it receives.
package events

import (
	"context"
	"log/slog"
	"time"

	"holdfast/order-srv/internal/store"
	"holdfast/pkg/mq"
	"holdfast/pkg/telemetry"
)

const (
	lease      = 10 * time.Second
	idlePause  = 500 * time.Millisecond // between looks when nothing tells us
	batch      = 200
	sendBudget = 5 * time.Second // of one pass; well below the lease, which must outlast it
)

// Relay sends what the outbox holds. It leases shards of it, so that several replicas share the work and one order's
// messages leave in the order in which they were written. A message is sent again when we die between sending and
// marking: at least once, never not at all.
type Relay struct {
	store *store.Store
	send  mq.Producer
	owner string
	log   *slog.Logger
}

// NewRelay returns a relay that holds its leases under the name owner, which must be unique among the replicas.
func NewRelay(s *store.Store, send mq.Producer, owner string, log *slog.Logger) *Relay {
	return &Relay{store: s, send: send, owner: owner, log: log}
}

// Run relays until ctx is done, then gives its leases up.
func (r *Relay) Run(ctx context.Context) {
	tick := time.NewTicker(idlePause)
	defer tick.Stop()
	for ctx.Err() == nil {
		more, err := r.pass(ctx)
		if err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "relay pass failed, the next one goes on", "err", err)
		}
		if more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-r.store.Notify():
		}
	}
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := r.store.GiveUp(bye, r.owner); err != nil {
		r.log.WarnContext(bye, "leases of the outbox run out by themselves", "err", err)
	}
}

// pass sends one batch. more says that there may be more to send at once.
func (r *Relay) pass(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, sendBudget)
	defer cancel()
	shards, err := r.claim(ctx)
	if err != nil || len(shards) == 0 {
		return false, err
	}
	messages, err := r.store.Unsent(ctx, shards, batch)
	if err != nil || len(messages) == 0 {
		return false, err
	}
	sent := make([]int64, 0, len(messages))
	stuck := map[string]bool{} // shard keys whose first message failed: the later ones must wait for it
	for _, m := range messages {
		if stuck[m.ShardKey] || ctx.Err() != nil {
			continue
		}
		if err := r.publish(ctx, m); err != nil {
			stuck[m.ShardKey] = true
			r.log.WarnContext(ctx, "message not sent, tried again later", "event_id", m.EventID, "topic", m.Topic, "err", err)
			continue
		}
		sent = append(sent, m.ID)
	}
	if len(sent) == 0 {
		return false, nil
	}
	mark, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer done()
	return len(messages) == batch, r.store.Sent(mark, sent)
}

// claim takes a fair share of the shards: all of them when we are alone.
func (r *Relay) claim(ctx context.Context) ([]int, error) {
	others, err := r.store.Owners(ctx, r.owner)
	if err != nil {
		return nil, err
	}
	return r.store.Claim(ctx, r.owner, lease, (store.Shards+others)/(others+1))
}

func (r *Relay) publish(ctx context.Context, m store.Outgoing) error {
	return r.send.Send(telemetry.WithRequestID(ctx, m.RequestID), mq.Message{
		Topic: m.Topic, Key: m.ShardKey, ShardKey: m.ShardKey, Body: []byte(m.Payload), DeliverAt: m.DeliverAt,
	})
}
