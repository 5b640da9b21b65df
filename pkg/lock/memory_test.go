package lock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/pkg/lock"
)

// inWorld runs test with two Lockers on the same keys, in fake time.
func inWorld(t *testing.T, test func(t *testing.T, one, two *lock.Memory)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		one := must[*lock.Memory](t)(lock.NewMemory())
		two := must[*lock.Memory](t)(one.Peer())
		test(t, one, two)
		for _, m := range []*lock.Memory{one, two} {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestMemory(t *testing.T) {
	t.Parallel()

	t.Run("a hanging Locker loses its lease, its peer gets the key at the TTL", func(t *testing.T) {
		inWorld(t, func(t *testing.T, one, two *lock.Memory) {
			lease := mustAcquire(t, one, "a")
			start, until := time.Now(), lease.Until()
			one.Intercept(func(ctx context.Context, _ lock.Op, _ []string) error { <-ctx.Done(); return ctx.Err() })
			next := mustAcquire(t, two, "a")
			if d := time.Since(start); d < ttl || d > ttl+10*time.Millisecond {
				t.Errorf("the peer had the key after %v, want the TTL %v and a few ms", d, ttl)
			}
			if lease.Context().Err() == nil || !time.Now().After(until) {
				t.Error("two holders")
			}
			if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("release = %v, want ErrUnavailable and no deadline of the caller's", err)
			}
			one.Intercept(nil)
			if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
				t.Errorf("second release = %v, want ErrLost", err)
			}
			mustRelease(t, next)
		})
	})

	t.Run("the operations and their keys are told", func(t *testing.T) {
		inWorld(t, func(t *testing.T, one, two *lock.Memory) {
			var heard []lock.Op
			one.Intercept(func(_ context.Context, op lock.Op, keys []string) error {
				heard = append(heard, op)
				if len(keys) == 0 || keys[0] != "a" {
					t.Errorf("%s of %q", op, keys)
				}
				return nil
			})
			held := mustAcquire(t, two, "a")
			got := make(chan *lock.Lease)
			go func() { got <- mustAcquire(t, one, "a") }()
			synctest.Wait()
			mustRelease(t, held)
			lease := <-got
			time.Sleep(every)
			synctest.Wait()
			mustRelease(t, lease)
			count := make(map[lock.Op]int)
			for _, op := range heard {
				count[op]++
			}
			if count[lock.OpTake] < 2 || count[lock.OpExtend] != 1 || count[lock.OpDrop] != 1 || count[lock.OpWake] != 2 {
				t.Errorf("heard %v", count)
			}
		})
	})

	t.Run("forgets keys, and counters", func(t *testing.T) {
		inWorld(t, func(t *testing.T, one, two *lock.Memory) {
			lease := mustAcquire(t, one, "a")
			if got := time.Until(one.Expires("a")); got != ttl {
				t.Errorf("expires in %v, want the TTL", got)
			}
			two.Evict("a")
			if !one.Expires("a").IsZero() {
				t.Error("evicted, and still there")
			}
			second := mustAcquire(t, two, "a")
			if lease.Token("a") != 1 || second.Token("a") != 2 {
				t.Errorf("tokens %d and %d, want 1 and 2", lease.Token("a"), second.Token("a"))
			}
			two.Flush()
			third := mustAcquire(t, one, "a")
			if got := third.Token("a"); got != 1 {
				t.Errorf("token %d after a flush, want 1 once more", got)
			}
			for _, atLeast := range []int64{7, 3} {
				if err := two.Raise(t.Context(), "a", atLeast); err != nil {
					t.Error(err)
				}
			}
			mustRelease(t, third)
			fourth := mustAcquire(t, one, "a")
			if got := fourth.Token("a"); got != 8 {
				t.Errorf("token %d after Raise, want 8", got)
			}
			mustRelease(t, fourth)
			for _, lost := range []*lock.Lease{lease, second} {
				if err := lost.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
					t.Errorf("release = %v, want ErrLost", err)
				}
			}
		})
	})

	t.Run("Raise refuses what Redis refuses", func(t *testing.T) {
		inWorld(t, func(t *testing.T, one, _ *lock.Memory) {
			if err := one.Raise(t.Context(), "", 1); !errors.Is(err, lock.ErrKeys) {
				t.Errorf("raise of no key = %v, want ErrKeys", err)
			}
			if err := one.Raise(t.Context(), "a", -1); err == nil {
				t.Error("raised to -1")
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := one.Raise(ctx, "a", 1); !errors.Is(err, context.Canceled) {
				t.Errorf("raise = %v, want context.Canceled", err)
			}
		})
	})
}
