package lock

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Option configures a Locker.
type Option func(*settings)

// WithTTL sets how long a key lives when it is not renewed: the longest time for which a crashed holder blocks others.
// It is at least 100 ms. Default 8 s.
func WithTTL(d time.Duration) Option { return func(s *settings) { s.ttl = d } }

// WithMaxHold sets the longest time for which one lease is renewed; then its context ends with ErrMaxHold. Without it a
// holder that hangs would keep its keys without limit. It is at least the TTL. Default 4 × TTL.
func WithMaxHold(d time.Duration) Option {
	return func(s *settings) { s.maxHold, s.maxHoldSet = d, d != 0 }
}

// WithMargin sets how long before the key may expire the holder's context is cancelled: time for a COMMIT that is on
// its way. It is at most half of the TTL; zero is allowed. Default TTL / 10.
func WithMargin(d time.Duration) Option {
	return func(s *settings) { s.margin, s.marginSet = d, true }
}

// WithMaxWait sets after what time Acquire stops waiting and returns ErrMaxWait. It ends the wait only; a deadline of
// the context of Acquire ends the lease, too. Zero is no limit. Default 0.
func WithMaxWait(d time.Duration) Option { return func(s *settings) { s.maxWait = d } }

// WithMetadata sets a text that is stored with each key, for [Redis.Holder] and for an operator: a host
// name, a process id. It has at most 256 bytes. Default "".
func WithMetadata(text string) Option { return func(s *settings) { s.metadata = text } }

// WithWaitReplicas makes a grant wait until n replicas have received the keys, for at most d (Redis's WAIT, one more
// round trip). When fewer have, the keys are freed and the attempt has failed with ErrUnavailable. It makes a failover
// that forgets a lease less likely and does not exclude it: the replica that becomes the master may be another one, and
// renewals do not wait. d is 1 ms to a quarter of the TTL. Only [Redis] can do it. Default 0 replicas.
func WithWaitReplicas(n int, d time.Duration) Option {
	return func(s *settings) { s.replicas, s.replicasWait = n, d }
}

// WithPrefix sets what all names in the backend begin with, in Redis in braces: on a Cluster all locks of one prefix
// share one slot, as one script must reach several of them. It must have 1 to 128 bytes and no braces. Default
// "holdfast:lock:".
func WithPrefix(prefix string) Option { return func(s *settings) { s.prefix = prefix } }

// WithPoll sets how long a waiter relies on being woken: it tries again after one to two of these, as a wake-up can be
// lost. A waiter with a ticket tries within one, and a key is kept for it for two, or for the TTL if that is less. It
// is at least 1 ms. Default 250 ms.
func WithPoll(d time.Duration) Option { return func(s *settings) { s.poll = d } }

// WithObserver sets what is notified of waits, renewals, losses and releases. Default: nothing.
func WithObserver(o Observer) Option { return func(s *settings) { s.observer = o } }

const (
	maxPrefix      = 128
	maxMetadata    = 256
	minTTL         = 100 * time.Millisecond
	releaseTimeout = time.Second // a release outlives its caller's context by no more than this
	minPoll        = time.Millisecond
	driftFactor    = 0.01 // of the TTL: how far Redis's clock may run ahead of ours; redsync's default
)

type settings struct {
	ttl, maxHold, margin  time.Duration
	maxHoldSet, marginSet bool
	maxWait               time.Duration
	metadata              string
	replicas              int
	replicasWait          time.Duration
	prefix                string
	observer              Observer
	poll                  time.Duration
}

// newSettings applies the options to the defaults and refuses what cannot work.
func newSettings(opts []Option) (settings, error) {
	s := settings{ttl: 8 * time.Second, prefix: "holdfast:lock:", observer: silent{}, poll: 250 * time.Millisecond}
	return s.with(opts)
}

// with applies the options to s. MaxHold and Margin follow the TTL unless an option has set them.
func (s settings) with(opts []Option) (settings, error) {
	for i, o := range opts {
		if o == nil {
			return s, fmt.Errorf("lock: option %d is nil", i)
		}
		o(&s)
	}
	if !s.maxHoldSet {
		s.maxHold = 4 * s.ttl
	}
	if !s.marginSet {
		s.margin = s.ttl / 10
	}
	return s, errors.Join(s.checkTimes(), s.checkRest())
}

func (s settings) checkTimes() error {
	switch {
	case s.ttl < minTTL:
		return fmt.Errorf("lock: TTL %v is below %v", s.ttl, minTTL)
	case s.maxHold < s.ttl:
		return fmt.Errorf("lock: MaxHold %v is below the TTL %v", s.maxHold, s.ttl)
	case s.margin < 0 || s.margin > s.ttl/2:
		return fmt.Errorf("lock: Margin %v is not between 0 and half of the TTL %v", s.margin, s.ttl)
	case s.maxWait < 0:
		return fmt.Errorf("lock: MaxWait %v is negative", s.maxWait)
	case s.poll < minPoll:
		return fmt.Errorf("lock: Poll %v is below %v", s.poll, minPoll)
	case s.replicas < 0:
		return fmt.Errorf("lock: WaitReplicas %d is negative", s.replicas)
	case s.replicas > 0 && (s.replicasWait < time.Millisecond || s.replicasWait > s.ttl/4):
		return fmt.Errorf("lock: WaitReplicas for %v is not between 1ms and a quarter of the TTL %v", s.replicasWait, s.ttl)
	}
	return nil
}

func (s settings) checkRest() error {
	switch {
	case s.prefix == "" || strings.ContainsAny(s.prefix, "{}"):
		return fmt.Errorf("lock: Prefix %q is empty or contains braces", s.prefix)
	case len(s.prefix) > maxPrefix:
		return fmt.Errorf("lock: Prefix %q… has %d bytes, more than %d", s.prefix[:20], len(s.prefix), maxPrefix)
	case len(s.metadata) > maxMetadata:
		return fmt.Errorf("lock: Metadata %q… has %d bytes, more than %d", s.metadata[:20], len(s.metadata), maxMetadata)
	case s.observer == nil:
		return errors.New("lock: Observer is nil")
	}
	return nil
}

// refuseReplicas is the check of backends that have no replicas to wait for.
func (s settings) refuseReplicas(backend string) error {
	if s.replicas > 0 {
		return fmt.Errorf("lock: WaitReplicas %d: %s cannot wait for replicas", s.replicas, backend)
	}
	return nil
}

// callTimeout bounds one command: a twentieth of the TTL as in redsync, but not below 250 ms unless the TTL is so short
// that a quarter of it is less. Three renewals must fit between TTL/3 and the lease's end.
func (s settings) callTimeout() time.Duration {
	return max(s.ttl/20, min(s.ttl/4, 250*time.Millisecond))
}

// keepTime is how long Redis keeps a key for a waiter with a ticket that does not come back: two polls, and never
// longer than a crashed holder would block others.
func (s settings) keepTime() time.Duration { return max(min(2*s.poll, s.ttl), 2*minPoll) }

// drift is what redsync takes off a lease for clocks that run at different speeds.
func (s settings) drift() time.Duration { return time.Duration(float64(s.ttl) * driftFactor) }
