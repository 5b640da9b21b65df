package events

import (
	"context"
	"errors"
	"sync"
	"time"

	"holdfast/order-srv/internal/store"
	"holdfast/pkg/mq"
)

// judge decides whether a message that was not sent is at fault, and for how long it is set aside.
func (r *Relay) judge(ctx context.Context, m store.Outgoing, err error, d *drain) store.Failure {
	f := store.Failure{ID: m.ID, Reason: err.Error()}
	invalid := errors.Is(err, mq.ErrInvalidMessage)
	if !invalid {
		d.inRow++
	}
	f.Strike = invalid || m.Failed > 0 && r.sent.byOther(m.Topic, m.ShardKey, m.Failed+time.Since(d.read))
	if f.Strike {
		f.Pause = r.Pause * time.Duration(min(longest, 1<<min(m.Strikes, 20)))
		f.Park = m.Strikes+1 >= parkAfter
	} else {
		f.Pause = r.Pause * time.Duration(min(longestOut, 1<<min(m.Attempts, 20)))
	}
	log := r.Log.With("event_id", m.EventID, "topic", m.Topic, "attempts", m.Attempts+1, "strikes", m.Strikes, "err", err)
	if f.Park {
		log.ErrorContext(ctx, "relay parked a message; the younger messages of its key wait for it")
	} else {
		log.WarnContext(ctx, "relay could not send a message, retries it later", "pause", f.Pause)
	}
	return f
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
