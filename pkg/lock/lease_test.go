package lock_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/lock"
)

// The defaults of these tests: TTL 8 s, drift 80 ms, margin 800 ms, so that a lease that is not renewed ends 7.12 s
// after its last renewal was sent; renewals at 8/3 s; MaxHold 32 s.
const (
	ttl    = 8 * time.Second
	usable = ttl - 80*time.Millisecond - 800*time.Millisecond
	every  = ttl / 3
)

var errNetwork = errors.New("connection reset")

func unanswered(context.Context) error { return fmt.Errorf("%w: %w", lock.ErrUnavailable, errNetwork) }

// watched is a fake in a bubble with one lease on "a".
func watched(t *testing.T, extend func(ctx context.Context) error, test func(*testing.T, *fake, *lock.Lease)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(t)
		defer fake.close(t)
		fake.on(lock.OpExtend, extend)
		lease, err := fake.Acquire(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		test(t, fake, lease)
		if fake.overlapped {
			t.Error("two calls of one claim at the same time")
		}
	})
}

// wantEnd waits for the end of the lease and checks its cause and that it came exactly after d.
func wantEnd(t *testing.T, lease *lock.Lease, cause error, d time.Duration) {
	t.Helper()
	start := time.Now()
	<-lease.Context().Done()
	if got := context.Cause(lease.Context()); !errors.Is(got, cause) {
		t.Errorf("cause = %v, want %v", got, cause)
	}
	if got := time.Since(start); got != d {
		t.Errorf("ended after %v, want %v", got, d)
	}
}

func TestLease_Context(t *testing.T) {
	t.Parallel()

	t.Run("hung backend: lost exactly at Until", func(t *testing.T) {
		watched(t, nil, func(t *testing.T, fake *fake, lease *lock.Lease) {
			hang := make(chan struct{}) // not even the call's own deadline ends it
			fake.on(lock.OpExtend, func(context.Context) error { <-hang; return nil })
			until := lease.Until()
			wantEnd(t, lease, lock.ErrLost, usable)
			if !time.Now().Equal(until) {
				t.Errorf("ended at %v, want Until %v", time.Now(), until)
			}
			close(hang)
			synctest.Wait()
			if !lease.Until().Equal(until) {
				t.Errorf("a late answer moved Until by %v", lease.Until().Sub(until))
			}
		})
	})

	t.Run("renewed at each third of the TTL, to the moment", func(t *testing.T) {
		var start time.Time
		var at []time.Duration
		watched(t, func(context.Context) error {
			at = append(at, time.Since(start))
			return nil
		}, func(t *testing.T, _ *fake, lease *lock.Lease) {
			start = time.Now()
			for i := range 4 {
				synctest.Wait()
				if got := lease.Until().Sub(start); got != time.Duration(i)*every+usable {
					t.Errorf("after %d renewals Until is %v after the grant, want %v", i, got, time.Duration(i)*every+usable)
				}
				time.Sleep(every)
			}
			mustRelease(t, lease)
			if diff := cmp.Diff([]time.Duration{every, 2 * every, 3 * every, 4 * every}, at); diff != "" {
				t.Errorf("renewals (-want +got):\n%s", diff)
			}
		})
	})

	t.Run("only an answered renewal moves Until", func(t *testing.T) {
		n := 0
		watched(t, func(ctx context.Context) error {
			if n++; n <= 2 {
				return nil
			}
			return unanswered(ctx)
		}, func(t *testing.T, fake *fake, lease *lock.Lease) {
			wantEnd(t, lease, lock.ErrLost, 2*every+usable)
			if cause := context.Cause(lease.Context()); !errors.Is(cause, errNetwork) {
				t.Errorf("cause = %v, want it to say why it was not renewed", cause)
			}
			// From 8 s on, each 267 ms until 12.45 s.
			if extends := fake.count(lock.OpExtend); extends < 15 {
				t.Errorf("%d renewals were tried, want one after the other until the end", extends)
			}
		})
	})

	t.Run("an unanswered renewal is made good by the next", func(t *testing.T) {
		n := 0
		watched(t, func(ctx context.Context) error {
			if n++; n == 1 {
				return unanswered(ctx)
			}
			return nil
		}, func(t *testing.T, _ *fake, lease *lock.Lease) {
			wantEnd(t, lease, lock.ErrMaxHold, 4*ttl)
		})
	})

	t.Run("not mine: lost at once", func(t *testing.T) {
		watched(t, nil, func(t *testing.T, fake *fake, lease *lock.Lease) {
			fake.Evict("a")
			wantEnd(t, lease, lock.ErrLost, every)
		})
	})

	t.Run("cut at MaxHold", func(t *testing.T) {
		watched(t, nil, func(t *testing.T, fake *fake, lease *lock.Lease) {
			limit := time.Now().Add(4 * ttl)
			wantEnd(t, lease, lock.ErrMaxHold, 4*ttl)
			if got := fake.Expires("a").Sub(limit); got != 880*time.Millisecond {
				t.Errorf("the key outlives the limit by %v, want drift and margin", got)
			}
		})
	})

	t.Run("follows its parent and is renewed no more", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			fake := newFake(t)
			defer fake.close(t)
			type key struct{}
			gone := errors.New("client is gone")
			ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "v"))
			lease, err := fake.Acquire(ctx, "a")
			if err != nil {
				t.Fatal(err)
			}
			if lease.Context().Value(key{}) != "v" {
				t.Error("values of the acquisition's context are gone")
			}
			cancel(gone)
			wantEnd(t, lease, gone, 0)
			time.Sleep(2 * every) // twice the time for a renewal, and the key is there still
			if extends := fake.count(lock.OpExtend); extends != 0 {
				t.Errorf("renewed %d times after the parent was cancelled", extends)
			}
			if err := lease.Release(ctx); err != nil {
				t.Errorf("release: %v", err)
			}
		})
	})
}

func TestLease_Release(t *testing.T) {
	t.Parallel()

	t.Run("ends the context and answers the same again", func(t *testing.T) {
		watched(t, nil, func(t *testing.T, fake *fake, lease *lock.Lease) {
			for range 2 {
				if err := lease.Release(t.Context()); err != nil {
					t.Errorf("release: %v", err)
				}
			}
			wantEnd(t, lease, lock.ErrReleased, 0)
			if drops := fake.count(lock.OpDrop); drops != 1 {
				t.Errorf("%d drops, want 1", drops)
			}
		})
	})

	t.Run("waits for the renewal in flight", func(t *testing.T) {
		watched(t, nil, func(t *testing.T, fake *fake, lease *lock.Lease) {
			inFlight, answer := make(chan struct{}), make(chan struct{})
			fake.on(lock.OpExtend, func(context.Context) error { close(inFlight); <-answer; return nil })
			<-inFlight
			released := make(chan error)
			go func() { released <- lease.Release(t.Context()) }()
			synctest.Wait()
			if drops := fake.count(lock.OpDrop); drops != 0 {
				t.Error("keys dropped while a renewal was under way")
			}
			close(answer)
			if err := <-released; err != nil {
				t.Errorf("release: %v", err)
			}
		})
	})

	t.Run("says that the lease was lost", func(t *testing.T) {
		watched(t, nil, func(t *testing.T, fake *fake, lease *lock.Lease) {
			fake.Evict("a")
			for range 2 {
				if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
					t.Errorf("release = %v, want ErrLost", err)
				}
			}
		})
	})

	t.Run("may be repeated when nobody answered", func(t *testing.T) {
		watched(t, nil, func(t *testing.T, fake *fake, lease *lock.Lease) {
			fake.on(lock.OpDrop, unanswered)
			if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrUnavailable) {
				t.Errorf("release = %v, want ErrUnavailable", err)
			}
			fake.on(lock.OpDrop, nil)
			if err := lease.Release(t.Context()); err != nil {
				t.Errorf("second release: %v", err)
			}
		})
	})

	t.Run("works with a cancelled context, in bounded time", func(t *testing.T) {
		watched(t, nil, func(t *testing.T, fake *fake, lease *lock.Lease) {
			var alive bool
			var bounded bool
			fake.on(lock.OpDrop, func(ctx context.Context) error {
				alive = ctx.Err() == nil
				_, bounded = ctx.Deadline()
				return nil
			})
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := lease.Release(ctx); err != nil {
				t.Errorf("release: %v", err)
			}
			if !alive || !bounded {
				t.Errorf("the drop's context: alive %t, bounded %t, want both", alive, bounded)
			}
		})
	})
}
