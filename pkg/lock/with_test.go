package lock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/lock"
)

func TestWith_MaxWait(t *testing.T) { // parallel in bubble
	bubble(t, func(t *testing.T, _ *fake, locker lock.Locker) {
		holder := mustAcquire(t, locker, "a")
		impatient := locker.With(lock.WithMaxWait(time.Second))
		for range 2 { // at the head of the queue, and behind another waiter
			start := time.Now()
			_, err := impatient.Acquire(t.Context(), "a")
			if !errors.Is(err, lock.ErrMaxWait) || errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
				t.Errorf("acquire = %v after %v, want ErrMaxWait after 1s", err, time.Since(start))
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { _, _ = locker.Acquire(ctx, "a") }()
			synctest.Wait()
			defer func() { cancel(); synctest.Wait() }()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := impatient.Acquire(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("acquire = %v, want its context's error", err)
		}
		mustRelease(t, holder)
	})
}

func TestWith_MaxWaitEndsNoLease(t *testing.T) { // parallel in bubble
	bubble(t, func(t *testing.T, _ *fake, locker lock.Locker) {
		lease := mustAcquire(t, locker.With(lock.WithMaxWait(time.Second)), "a")
		time.Sleep(2 * time.Second)
		if err := lease.Context().Err(); err != nil {
			t.Errorf("the lease ended with its wait: %v", err)
		}
		mustRelease(t, lease)
	})
}

func TestWith_Times(t *testing.T) { // parallel in bubble
	bubble(t, func(t *testing.T, fake *fake, locker lock.Locker) {
		lease := mustAcquire(t, locker.With(lock.WithTTL(time.Second), lock.WithMaxHold(2*time.Second)), "a")
		if left := fake.expires("a"); left != time.Second {
			t.Errorf("the key lives for %v, want 1s", left)
		}
		start := time.Now()
		<-lease.Context().Done()
		if cause := context.Cause(lease.Context()); !errors.Is(cause, lock.ErrMaxHold) || time.Since(start) != 2*time.Second {
			t.Errorf("ended with %v after %v, want ErrMaxHold after 2s", cause, time.Since(start))
		}
		mustRelease(t, lease)
		lease = mustAcquire(t, locker, "a")
		if left := fake.expires("a"); left != ttl {
			t.Errorf("the key of the Locker itself lives for %v, want %v", left, ttl)
		}
		mustRelease(t, lease)
	})
}

func TestWith_SharesQueue(t *testing.T) { // parallel in bubble
	bubble(t, func(t *testing.T, fake *fake, locker lock.Locker) {
		holder := mustAcquire(t, locker, "a")
		var order []string
		done := make(chan struct{})
		for _, name := range []string{"first", "second"} {
			other := locker.With(lock.WithMaxWait(time.Minute))
			go func() {
				lease, err := other.Acquire(t.Context(), "a")
				if err != nil {
					t.Error(err)
				} else {
					order = append(order, name) // the lock guards it
					mustRelease(t, lease)
				}
				done <- struct{}{}
			}()
			synctest.Wait()
		}
		mustRelease(t, holder)
		<-done
		<-done
		if got := strings.Join(order, " "); got != "first second" {
			t.Errorf("order of service %q", got)
		}
	}, lock.WithPoll(time.Hour))
}

func TestWith_Refuses(t *testing.T) {
	t.Parallel()
	memory := must[*lock.Memory](t)(lock.NewMemory())
	t.Cleanup(func() { _ = memory.Close() })
	for want, opts := range map[string][]lock.Option{
		"TTL 8ns":          {lock.WithTTL(8)},
		"MaxWait -1s":      {lock.WithMaxWait(-time.Second)},
		"WaitReplicas 1":   {lock.WithWaitReplicas(1, time.Second)},
		"WaitReplicas -1":  {lock.WithWaitReplicas(-1, time.Second)},
		"WaitReplicas for": {lock.WithWaitReplicas(1, 7*time.Second)},
		"Prefix":           {lock.WithPrefix("other:")},
		"257 bytes":        {lock.WithMetadata(strings.Repeat("m", 257))},
		"option 0 is nil":  {nil},
	} {
		other := memory.With(opts...)
		_, err := other.Try(t.Context(), "a")
		wantRefusal(t, err, want)
		_, err = other.Acquire(t.Context(), "a")
		wantRefusal(t, err, want)
	}
}

func TestDo(t *testing.T) { // parallel in bubble
	errWork := errors.New("work")
	bubble(t, func(t *testing.T, fake *fake, locker lock.Locker) {
		err := lock.Do(t.Context(), locker, []string{"a"}, func(ctx context.Context, lease *lock.Lease) error {
			if ctx != lease.Context() || fake.expires("a") == 0 || lease.Token("a") == 0 {
				t.Error("fn does not run under the lease")
			}
			return errWork
		})
		if !errors.Is(err, errWork) || fake.expires("a") != 0 {
			t.Errorf("do = %v, expires in %v; want fn's error and a free key", err, fake.expires("a"))
		}

		err = lock.Do(t.Context(), locker, []string{"a"}, func(ctx context.Context, _ *lock.Lease) error {
			fake.Evict("a")
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, lock.ErrLost) || !errors.Is(err, context.Canceled) {
			t.Errorf("do with a lost lease = %v, want ErrLost and fn's error", err)
		}

		err = lock.Do(t.Context(), locker, []string{"a"}, func(context.Context, *lock.Lease) error {
			fake.Evict("a")
			return nil
		})
		if !errors.Is(err, lock.ErrLost) {
			t.Errorf("do with a key lost at the end = %v, want ErrLost", err)
		}

		fake.on(lock.OpDrop, unanswered)
		if err := lock.Do(t.Context(), locker, []string{"a"}, func(context.Context, *lock.Lease) error { return nil }); err != nil {
			t.Errorf("do whose release got no answer = %v, want nil: the work is done", err)
		}
		fake.on(lock.OpDrop, nil)
		fake.Evict("a")

		func() {
			defer func() { _ = recover() }()
			_ = lock.Do(t.Context(), locker, []string{"a"}, func(context.Context, *lock.Lease) error { panic("fn") })
		}()
		if fake.expires("a") != 0 {
			t.Error("the key is held after a panic")
		}

		fake.on(lock.OpTake, unanswered)
		err = lock.Do(t.Context(), locker, []string{"a"}, func(context.Context, *lock.Lease) error {
			t.Error("fn was called without a lease")
			return nil
		})
		if !errors.Is(err, lock.ErrUnavailable) {
			t.Errorf("do = %v, want ErrUnavailable", err)
		}
	})
}

func TestRedis_Holder(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.Redis(t))
	locker := s.locker(t, lock.WithTTL(time.Minute), lock.WithMetadata("host:7"))
	if h, held, err := locker.Holder(t.Context(), "k"); held || err != nil {
		t.Errorf("holder of a free key is %+v, %v, %v", h, held, err)
	}
	lease := acquire(t, locker, "k")
	h, held, err := locker.Holder(t.Context(), "k")
	if err != nil || !held || h.ID == "" || h.Metadata != "host:7" || h.Left <= 0 || h.Left > time.Minute {
		t.Errorf("holder = %+v, %v, %v", h, held, err)
	}
	release(t, lease)
	if _, _, err := locker.Holder(t.Context(), ""); !errors.Is(err, lock.ErrKeys) {
		t.Errorf("holder of no key = %v, want ErrKeys", err)
	}
	plain := acquire(t, locker.With(lock.WithMetadata("")), "k")
	if h, held, err := locker.Holder(t.Context(), "k"); !held || h.Metadata != "" || err != nil {
		t.Errorf("holder = %+v, %v, %v", h, held, err)
	}
	release(t, plain)
}
