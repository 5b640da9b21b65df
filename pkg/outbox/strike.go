package outbox

import (
	"context"
	"errors"
	"time"

	"holdfast/pkg/mq"
)

// judge decides whether a message that was not sent is at fault, and for how long it is set aside.
func (r *Relay) judge(ctx context.Context, m Outgoing, err error, d *drain) Failure {
	f := Failure{ID: m.ID, Reason: err.Error()}
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
