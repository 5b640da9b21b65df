package lock

import (
	"fmt"
	"strings"
	"time"
)

// Option configures a Locker.
type Option func(*settings)

// WithTTL sets how long a key lives when nobody renews it: the longest time for which a crashed holder blocks others. It is
// at least 100 ms. Default 8 s.
func WithTTL(d time.Duration) Option { return func(s *settings) { s.ttl = d } }

// WithMaxHold sets the longest time for which one lease is renewed; then its context ends with ErrMaxHold. Without it a
// holder that hangs would keep its keys for ever. It is at least the TTL. Default 4 × TTL.
func WithMaxHold(d time.Duration) Option { return func(s *settings) { s.maxHold = d } }

// WithMargin sets how long before the key may expire the holder's context is cancelled: time for a COMMIT that is on its
// way. It is at most half of the TTL; zero is allowed. Default TTL / 10.
func WithMargin(d time.Duration) Option {
	return func(s *settings) { s.margin, s.marginSet = d, true }
}

// WithPrefix sets what all names in the backend begin with, in Redis in braces: on a Cluster all locks of one prefix share one slot,
// as one script must reach several of them. It must have 1 to 128 bytes and no braces. Default "holdfast:lock:".
func WithPrefix(prefix string) Option { return func(s *settings) { s.prefix = prefix } }

// WithPoll sets how long a waiter relies on being woken: it looks for itself after one to two of these, as a wake-up can be
// lost. It is at least 1 ms. Default 250 ms.
func WithPoll(d time.Duration) Option { return func(s *settings) { s.poll = d } }

// WithObserver sets who is told of waits, renewals, losses and releases. Default: nobody.
func WithObserver(o Observer) Option { return func(s *settings) { s.observer = o } }

const (
	maxPrefix      = 128
	minTTL         = 100 * time.Millisecond
	releaseTimeout = time.Second // a release outlives its caller's context by no more than this
	minPoll        = time.Millisecond
	driftFactor    = 0.01 // of the TTL: how far Redis's clock may run ahead of ours; redsync's default
)

type settings struct {
	ttl, maxHold, margin time.Duration
	marginSet            bool
	prefix               string
	observer             Observer
	poll                 time.Duration
}

// newSettings applies the options over the defaults and refuses what cannot work.
func newSettings(opts []Option) (settings, error) {
	s := settings{ttl: 8 * time.Second, prefix: "holdfast:lock:", observer: silent{}, poll: 250 * time.Millisecond}
	for i, o := range opts {
		if o == nil {
			return s, fmt.Errorf("lock: option %d is nil", i)
		}
		o(&s)
	}
	if s.maxHold == 0 {
		s.maxHold = 4 * s.ttl
	}
	if !s.marginSet {
		s.margin = s.ttl / 10
	}
	switch {
	case s.ttl < minTTL:
		return s, fmt.Errorf("lock: TTL %v is below %v", s.ttl, minTTL)
	case s.maxHold < s.ttl:
		return s, fmt.Errorf("lock: MaxHold %v is below the TTL %v", s.maxHold, s.ttl)
	case s.margin < 0 || s.margin > s.ttl/2:
		return s, fmt.Errorf("lock: Margin %v is not between 0 and half of the TTL %v", s.margin, s.ttl)
	case s.prefix == "" || strings.ContainsAny(s.prefix, "{}"):
		return s, fmt.Errorf("lock: Prefix %q is empty or contains braces", s.prefix)
	case len(s.prefix) > maxPrefix:
		return s, fmt.Errorf("lock: Prefix %q… has %d bytes, more than %d", s.prefix[:20], len(s.prefix), maxPrefix)
	case s.poll < minPoll:
		return s, fmt.Errorf("lock: Poll %v is below %v", s.poll, minPoll)
	case s.observer == nil:
		return s, fmt.Errorf("lock: Observer is nil")
	}
	return s, nil
}

// callTimeout bounds one command: a twentieth of the TTL as in redsync, but not below 250 ms unless the TTL is so short
// that a quarter of it is less. Three renewals must fit between TTL/3 and the lease's end.
func (s settings) callTimeout() time.Duration {
	return max(s.ttl/20, min(s.ttl/4, 250*time.Millisecond))
}

// drift is what redsync takes off a lease for clocks that run at different speeds.
func (s settings) drift() time.Duration { return time.Duration(float64(s.ttl) * driftFactor) }
