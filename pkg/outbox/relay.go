package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/pkg/mq"
	"holdfast/pkg/telemetry"
)

const (
	workers        = 4                      // shards that are sent at the same time
	lease          = 10 * time.Second       // how long a shard stands still when its relay dies
	pollInterval   = time.Second            // between looks for work without a notification
	failureBackoff = 500 * time.Millisecond // of a shard that the relay left because the broker seems to be down
	readAhead      = 512                    // messages of one read of the outbox
	batch          = 64                     // messages between two marks; a crash sends at most so many again
	markTime       = 2 * time.Second        // for marking, which must not be cut short by a stop

	// outage is how many messages in a row fail before the relay takes the broker for down and leaves the shard.
	outage = 3

	// parkAfter is how many strikes have a message parked. With firstPause they take more than two minutes, longer
	// than a broker's failover.
	parkAfter  = 10
	firstPause = 500 * time.Millisecond // of a message after its first failure, doubling
	longest    = 128                    // pauses: the longest after strikes
	longestOut = 4                      // pauses: the longest while the broker seems to be down
)

// MaxDelay is how far ahead a message's delivery time may be: an hour less than the broker's limit, so that clocks may
// differ. The relay brings a later time forward.
const MaxDelay = 71 * time.Hour

// Relay sends what the outbox holds. Each worker leases a shard, sends its messages in the order in which they were
// written, marks them, and releases the shard. Any number of replicas share the work, and the messages of one shard key
// never overtake each other. Delivery is at least once: a process that dies between sending and marking sends a message
// twice.
//
// A message that the broker refuses is retried after a pause, and the younger ones of its key wait for it; other keys
// are sent. A failure is a strike against the message when the message is invalid, or when messages of other keys were
// sent to its topic since its last attempt: then the broker is not at fault. A message with parkAfter strikes is parked
// until an operator has it sent again.
type Relay struct {
	RelayConfig
	sent successes
}

// RelayConfig is what a relay is made of.
type RelayConfig struct {
	Table  *Table
	Send   mq.Producer
	Log    *slog.Logger
	Parked prometheus.Counter // counts messages that are parked

	// Published is called when a message was sent and is not yet marked; nil: nothing is. A process that dies there sends
	// the message twice.
	Published func()

	Pause time.Duration // after a message's first failure, doubling; default 500 ms
}

// NewRelay returns a relay. Run runs it.
func NewRelay(cfg RelayConfig) *Relay {
	if cfg.Pause == 0 {
		cfg.Pause = firstPause
	}
	return &Relay{RelayConfig: cfg, sent: successes{newest: map[string][2]success{}}}
}

// Run relays until ctx is done, then gives its leases up and returns.
func (r *Relay) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { r.poll(ctx) })
	for range workers {
		running.Go(func() { r.work(ctx) })
	}
	running.Wait()
}

// poll wakes one worker at each interval, for what was committed by other processes, or left by a relay that died. The
// worker that finds a shard wakes the next one. So an idle relay sends the database one statement in each interval,
// however many workers it has.
func (r *Relay) poll(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.Table.Kick()
		}
	}
}

// work waits for a notification, and then sends until there is no shard left to lease.
func (r *Relay) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.Table.Notify():
		}
		for worked := true; worked && ctx.Err() == nil; {
			var err error
			worked, err = r.shard(ctx)
			if err != nil && ctx.Err() == nil {
				r.Log.WarnContext(ctx, "relay pass failed", "err", err)
				worked = false
			}
		}
	}
}

// hold is a leased shard. until is the end of the lease by this process's clock, never later than by the database's.
type hold struct {
	owner string
	shard int
	until time.Time
}

// shard leases one shard and sends what it holds. worked is false when there was none to lease.
func (r *Relay) shard(ctx context.Context) (worked bool, err error) {
	h := hold{owner: ulid.Make().String(), until: time.Now().Add(lease)}
	var ok bool
	if h.shard, ok, err = r.Table.Claim(ctx, h.owner, lease); err != nil || !ok {
		return false, err
	}
	r.Table.Kick() // other shards may have work for another worker
	clean, err := r.drain(ctx, &h)
	pause := failureBackoff
	if clean {
		pause = 0
	}
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), markTime)
	defer cancel()
	if releaseErr := r.Table.GiveUp(release, h.owner, h.shard, pause); err == nil {
		err = releaseErr
	}
	return true, err
}

// drain sends batches until the shard has nothing that may be sent now. clean is false when the relay leaves messages
// that it could try.
func (r *Relay) drain(ctx context.Context, h *hold) (clean bool, err error) {
	for {
		if err := r.renew(ctx, h); err != nil {
			return false, err
		}
		messages, err := r.Table.Unsent(ctx, h.shard, readAhead)
		if err != nil || len(messages) == 0 {
			return err == nil, err
		}
		d := drain{read: time.Now(), stuck: map[string]bool{}}
		for chunk := range slices.Chunk(messages, batch) {
			if err := r.renew(ctx, h); err != nil {
				return false, err
			}
			if err := r.batch(ctx, h, chunk, &d); err != nil {
				return false, err
			}
			if ctx.Err() != nil || d.inRow >= outage {
				return false, nil
			}
		}
	}
}

// drain is the state of one read of the outbox.
type drain struct {
	read  time.Time
	stuck map[string]bool // shard keys with a message that failed: the younger ones wait for it
	inRow int             // failures since the last success that may be the broker's fault
}

// renew extends a lease that is half over.
func (r *Relay) renew(ctx context.Context, h *hold) error {
	if time.Until(h.until) > lease/2 {
		return nil
	}
	until := time.Now().Add(lease)
	if err := r.Table.Renew(ctx, h.owner, h.shard, lease); err != nil {
		return fmt.Errorf("renew the lease of shard %d: %w", h.shard, err)
	}
	h.until = until
	return nil
}

// batch sends messages in order, outside of any transaction and not beyond the lease, and marks them.
func (r *Relay) batch(ctx context.Context, h *hold, messages []Outgoing, d *drain) error {
	sending, cancel := context.WithDeadline(ctx, h.until)
	defer cancel()
	var sent []int64
	var failed []Failure
	for _, m := range messages {
		if d.stuck[m.ShardKey] {
			continue
		}
		if sending.Err() != nil || d.inRow >= outage {
			break
		}
		err := r.publish(sending, m)
		if err == nil {
			if r.Published != nil {
				r.Published()
			}
			r.sent.note(m.Topic, m.ShardKey)
			d.inRow = 0
			sent = append(sent, m.ID)
			continue
		}
		if ctx.Err() != nil { // the relay stops, which says nothing about the message
			break
		}
		d.stuck[m.ShardKey] = true
		failed = append(failed, r.judge(ctx, m, err, d))
	}
	mark, done := context.WithTimeout(context.WithoutCancel(ctx), markTime)
	defer done()
	if err := r.Table.Sent(mark, sent); err != nil {
		return err
	}
	if err := r.Table.Failed(mark, failed); err != nil {
		return err
	}
	for _, f := range failed {
		if f.Park {
			r.Parked.Inc()
		}
	}
	return nil
}

// publish sends one message. A delivery time beyond the broker's limit is brought forward: the message is delivered
// early, and its consumer delays it again.
func (r *Relay) publish(ctx context.Context, m Outgoing) error {
	if latest := time.Now().Add(MaxDelay); m.DeliverAt.After(latest) {
		m.DeliverAt = latest
	}
	return r.Send.Send(telemetry.WithRequestID(ctx, m.RequestID), mq.Message{
		Topic: m.Topic, Key: m.ShardKey, ShardKey: m.ShardKey, Body: []byte(m.Payload), DeliverAt: m.DeliverAt,
	})
}

// successes remembers when messages were sent to a topic last. It has an entry for each topic to which one was sent.
type successes struct {
	mu     sync.Mutex
	newest map[string][2]success // by topic: the newest, and the newest of another key
}

type success struct {
	key string
	at  time.Time
}

func (s *successes) note(topic, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := s.newest[topic]
	if newest[0].key != key {
		newest[1] = newest[0]
	}
	newest[0] = success{key, time.Now()}
	s.newest[topic] = newest
}

// byOther reports whether a message of another key was sent to the topic within the last d.
func (s *successes) byOther(topic, key string, d time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.newest[topic] {
		if n.key != key && !n.at.IsZero() && time.Since(n.at) < d {
			return true
		}
	}
	return false
}
