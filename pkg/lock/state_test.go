package lock_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/lock"
)

// The state machine: random interleavings of everything that can happen to several lockers and keys, against a model.
// The steps are drawn first and then played, as a bubble of synctest must not wait for rapid, nor rapid shrink inside
// one.

// step is one of them. Which of its numbers count depends on what it does.
type step struct {
	do     string
	locker int
	keys   []string
	lease  int // one that was granted, by its number, modulo how many there are
	wait   time.Duration
}

func (s step) String() string {
	return fmt.Sprintf("%s(locker %d, keys %v, lease %d, %v)", s.do, s.locker, s.keys, s.lease, s.wait)
}

func steps(do ...string) *rapid.Generator[[]step] {
	one := rapid.Custom(func(t *rapid.T) step {
		return step{
			do:     rapid.SampledFrom(do).Draw(t, "do"),
			locker: rapid.IntRange(0, 2).Draw(t, "locker"),
			keys:   rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3).Draw(t, "keys"),
			lease:  rapid.IntRange(0, 9).Draw(t, "lease"),
			wait:   time.Duration(rapid.Int64Range(0, int64(2*ttl)).Draw(t, "wait")),
		}
	})
	return rapid.SliceOfN(one, 1, 40)
}

// world is what the machine acts on.
type world struct {
	lockers []lock.Locker
	expire  func(key string) // the key is gone without a report
	flush   func()           // so are all keys, and the counters
	advance func(time.Duration)
}

// granted is a lease that the machine was given.
type granted struct {
	*lock.Lease
	keys     []string
	released bool
}

// machine plays steps on a world and compares it with the model: owner says whose each key is, counter how many tokens
// were drawn.
type machine struct {
	ctx     context.Context
	world   world
	owner   map[string]*granted
	counter int64
	leases  []*granted
}

// play returns the first thing that the model did not expect.
func play(ctx context.Context, w world, steps []step) error {
	m := &machine{ctx: ctx, world: w, owner: map[string]*granted{}}
	defer func() {
		for _, l := range m.leases { // else their watchdogs would live on
			_ = l.Release(ctx)
		}
	}()
	for i, s := range steps {
		if err := m.step(s); err != nil {
			return fmt.Errorf("step %d of %v: %w", i, steps, err)
		}
	}
	return nil
}

func (m *machine) step(s step) error {
	keys := slices.Compact(slices.Sorted(slices.Values(s.keys)))
	held := m.held(keys)
	switch s.do {
	case "try":
		lease, err := m.world.lockers[s.locker].Try(m.ctx, s.keys...)
		return m.took(keys, lease, held, err, lock.ErrHeld)
	case "acquire":
		ctx := m.ctx
		if held { // they will not be freed: give up
			brief, cancel := context.WithTimeout(m.ctx, 10*time.Millisecond)
			defer cancel()
			ctx = brief
		}
		locker := m.world.lockers[s.locker]
		lease, err := locker.Acquire(ctx, s.keys...)
		locker.(interface{ Quiet() }).Quiet() // else what it kept as a waiter would refuse the next step
		if err := m.time(); err != nil {      // some has passed
			return err
		}
		return m.took(keys, lease, held, err, context.DeadlineExceeded)
	case "release":
		return m.release(s.lease)
	case "expire":
		m.world.expire(keys[0])
		delete(m.owner, keys[0])
	case "flush":
		m.world.flush()
		clear(m.owner)
		m.counter = 0
	case "advance":
		m.world.advance(s.wait)
		return m.time()
	}
	return nil
}

func (m *machine) held(keys []string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return m.owner[k] != nil })
}

// took checks the answer to an attempt on keys that were held or not: they are held now, with the next token, or none
// is.
func (m *machine) took(keys []string, lease *lock.Lease, held bool, err, refusal error) error {
	switch {
	case held && errors.Is(err, refusal):
		return nil
	case err != nil:
		return fmt.Errorf("keys %v, held %v: %w", keys, held, err)
	case m.held(keys): // still: they did not expire while we waited
		return fmt.Errorf("keys %v have two holders", keys)
	}
	g := &granted{Lease: lease, keys: keys}
	m.leases = append(m.leases, g)
	m.counter++
	for _, k := range keys {
		m.owner[k] = g
		if got := lease.Token(k); got != m.counter {
			return fmt.Errorf("token of %s is %d, want %d", k, got, m.counter)
		}
	}
	return nil
}

// release checks the answer to a release: nil if all keys were still its own, else ErrLost; others' keys stay theirs,
// which later steps see. A second release repeats the first one's answer.
func (m *machine) release(number int) error {
	if len(m.leases) == 0 {
		return nil
	}
	g := m.leases[number%len(m.leases)]
	if g.released {
		return nil
	}
	g.released = true
	var want error
	for _, k := range g.keys {
		if m.owner[k] != g {
			want = lock.ErrLost
			continue
		}
		delete(m.owner, k)
	}
	for range 2 {
		if err := g.Release(m.ctx); !errors.Is(err, want) {
			return fmt.Errorf("release of %v answers %v, want %v", g.keys, err, want) //nolint:errorlint // It may be nil.
		}
	}
	if err := g.Context().Err(); err == nil {
		return errors.New("the context lives after the release")
	}
	return nil
}

// time checks what the passing of time did to leases, and lets the model's keys expire.
func (m *machine) time() error {
	now := time.Now()
	for _, g := range m.leases {
		whole := !slices.ContainsFunc(g.keys, func(k string) bool { return m.owner[k] != g })
		cause := context.Cause(g.Context())
		switch {
		case g.released:
			continue
		case g.Context().Err() == nil && !now.Before(g.Until()):
			return fmt.Errorf("the lease on %v lives past Until", g.keys)
		case whole && cause != nil && !errors.Is(cause, lock.ErrMaxHold):
			return fmt.Errorf("the lease on %v was never taken away and ended with %w", g.keys, cause)
		case cause != nil: // drift and margin after its end its keys are gone
			for _, k := range g.keys {
				if m.owner[k] == g && !now.Before(g.Until().Add(ttl-usable)) {
					delete(m.owner, k)
				}
			}
		}
	}
	return nil
}

// TestState_Redis plays it on a real Redis. Nothing expires by itself here, and nothing is renewed: "expire" takes a
// key away as expiry does.
func TestState_Redis(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.OwnRedis(t).Addr)
	var opts []lock.Option
	long(&opts)
	lockers := []lock.Locker{s.locker(t, opts...), s.locker(t, opts...), s.locker(t, opts...)}
	rapid.Check(t, func(rt *rapid.T) {
		if err := s.FlushAll(t.Context()).Err(); err != nil {
			rt.Fatal(err)
		}
		err := play(t.Context(), world{
			lockers: lockers,
			expire:  func(key string) { s.Del(t.Context(), s.key(key)) },
			flush:   func() { s.FlushAll(t.Context()) },
		}, steps("try", "try", "acquire", "release", "release", "expire", "flush").Draw(rt, "steps"))
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// TestState_Time plays it in fake time, where leases are renewed, lost and cut.
func TestState_Time(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		drawn := steps("try", "try", "acquire", "release", "expire", "flush", "advance", "advance").Draw(rt, "steps")
		var err error
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			defer f.close(t)
			w := world{
				lockers: []lock.Locker{f},
				expire:  func(key string) { f.Evict(key) },
				flush:   f.Flush,
				advance: func(d time.Duration) { time.Sleep(d); synctest.Wait() },
			}
			for range 2 {
				peer, peerErr := f.Peer()
				if peerErr != nil {
					t.Fatal(peerErr)
				}
				defer peer.Close()
				w.lockers = append(w.lockers, peer)
			}
			err = play(t.Context(), w, drawn)
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}
