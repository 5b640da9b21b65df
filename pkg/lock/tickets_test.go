package lock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/tcpproxy"
	"holdfast/pkg/lock"
)

// kept returns what keeps the key: ticket ":" owner, or nothing.
func (s server) kept(t testing.TB, k string) string {
	t.Helper()
	return s.Get(t.Context(), s.keep(k)).Val()
}

// waiter starts an Acquire and wakes it until it has a ticket for the keys. The error comes when the Acquire ends.
func (s server) waiter(t *testing.T, ctx context.Context, l lock.Locker, keys ...string) <-chan error {
	t.Helper()
	before := s.Get(t.Context(), "{"+s.prefix+"}ticket").Val()
	ended := make(chan error, 1)
	go func() {
		lease, err := l.Acquire(ctx, keys...)
		if err == nil {
			err = lease.Release(context.WithoutCancel(ctx))
		}
		ended <- err
	}()
	eventually(t, "the waiter has a ticket", func() bool {
		s.Publish(t.Context(), "{"+s.prefix+"}freed", s.key(keys[0]))
		return s.Get(t.Context(), "{"+s.prefix+"}ticket").Val() != before
	})
	return ended
}

func TestRedis_Tickets(t *testing.T) {
	t.Parallel()
	var opts []lock.Option
	long(&opts)

	t.Run("are drawn with the third refusal, not before, and never by Try", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		held := acquire(t, s.locker(t, opts...), "b")
		for range 5 {
			if _, err := s.locker(t, opts...).Try(within(t), "a", "b"); !errors.Is(err, lock.ErrHeld) {
				t.Errorf("try = %v, want ErrHeld", err)
			}
		}
		got := acquiring(t, s.locker(t, opts...), "a", "b")
		eventually(t, "the waiter has subscribed", func() bool { return s.subscribers(t) == 1 })
		if n := s.Exists(t.Context(), "{"+s.prefix+"}ticket", s.keep("a"), s.keep("b")).Val(); n != 0 {
			t.Error("a ticket was drawn before the third refusal")
		}
		s.Publish(t.Context(), "{"+s.prefix+"}freed", s.key("a"))
		eventually(t, "both keys are kept", func() bool { return s.kept(t, "a") != "" && s.kept(t, "b") != "" })
		release(t, held)
		release(t, await(t, got))
		if n := s.Exists(t.Context(), s.keep("a"), s.keep("b")).Val(); n != 0 {
			t.Error("a key is kept for a claim that was granted")
		}
	})

	t.Run("keep a free key from claims without one and from higher ones", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		held := acquire(t, s.locker(t, opts...), "b")
		low := s.waiter(t, t.Context(), s.locker(t, opts...), "a", "b")
		if _, err := s.locker(t, opts...).Try(within(t), "a"); !errors.Is(err, lock.ErrHeld) {
			t.Errorf("try of a free key that is kept = %v, want ErrHeld", err)
		}
		high := s.waiter(t, t.Context(), s.locker(t, opts...), "a", "c")
		if a, c := s.kept(t, "a"), s.kept(t, "c"); !strings.HasPrefix(a, "1:") || !strings.HasPrefix(c, "2:") {
			t.Errorf("a is kept for %q and c for %q, want tickets 1 and 2", a, c)
		}
		release(t, held)
		for _, ended := range []<-chan error{low, high} {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})

	t.Run("overwrite a higher one, which comes second", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		first, second := acquire(t, s.locker(t, opts...), "a"), acquire(t, s.locker(t, opts...), "b")
		low := s.waiter(t, t.Context(), s.locker(t, opts...), "a", "b")
		// As if a waiter with a higher ticket had come first.
		if err := s.Set(t.Context(), s.keep("b"), "7:OTHER", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		release(t, first) // wakes the waiter, which is refused because of b
		eventually(t, "the lower ticket keeps b", func() bool { return strings.HasPrefix(s.kept(t, "b"), "1:") })
		release(t, second)
		if err := <-low; err != nil {
			t.Error(err)
		}
	})

	t.Run("are removed when the waiter gives up", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		held := acquire(t, s.locker(t, opts...), "b")
		ctx, cancel := context.WithCancel(t.Context())
		waiter := s.locker(t, opts...)
		gone := s.waiter(t, ctx, waiter, "a", "b")
		next := acquiring(t, s.locker(t, opts...), "a") // its poll is an hour away: it needs the wake-up
		eventually(t, "both have subscribed", func() bool { return s.subscribers(t) == 2 })
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("acquire = %v, want context.Canceled", err)
		}
		release(t, await(t, next))
		eventually(t, "nothing is kept", func() bool { return s.Exists(t.Context(), s.keep("a"), s.keep("b")).Val() == 0 })
		release(t, held)

		held = acquire(t, s.locker(t, opts...), "b")
		gone = s.waiter(t, t.Context(), waiter, "a", "b")
		if err := waiter.Close(); err != nil {
			t.Error(err)
		}
		if err := <-gone; !errors.Is(err, lock.ErrClosed) {
			t.Errorf("acquire = %v, want ErrClosed", err)
		}
		if n := s.Exists(t.Context(), s.keep("a"), s.keep("b")).Val(); n != 0 {
			t.Error("a key is kept for a Locker that is closed")
		}
		release(t, held)
	})

	t.Run("lapse when the waiter is dead", func(t *testing.T) {
		t.Parallel()
		const poll = 400 * time.Millisecond
		s := newServer(t, stacktest.Redis(t))
		opts := []lock.Option{lock.WithTTL(time.Minute), lock.WithPoll(poll)}
		held := acquire(t, s.locker(t, opts...), "b")
		p := tcpproxy.New(t, s.addr)
		dead := s.lockerAt(t, p.Addr(), opts...)
		ended := s.waiter(t, t.Context(), dead, "a", "b")
		for range 4 { // a living one is kept its place for longer than a keep lasts
			time.Sleep(poll)
			if s.kept(t, "a") == "" {
				t.Fatal("a living waiter lost its keep")
			}
		}
		p.Hold(tcpproxy.Both)
		start := time.Now()
		release(t, acquire(t, s.locker(t, opts...), "a"))
		if d := time.Since(start); d > 2*poll+deadline/2 {
			t.Errorf("a dead waiter kept a key for %v, want at most two polls of %v", d, poll)
		}
		release(t, held)
		p.Pass()
		if err := <-ended; err != nil && !errors.Is(err, lock.ErrUnavailable) {
			t.Error(err)
		}
	})

	t.Run("stay in order when Redis loses the counter", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		if err := s.Set(t.Context(), "{"+s.prefix+"}ticket", 41, 0).Err(); err != nil {
			t.Fatal(err)
		}
		held := acquire(t, s.locker(t, opts...), "b")
		old := s.waiter(t, t.Context(), s.locker(t, opts...), "a", "b")
		s.Del(t.Context(), "{"+s.prefix+"}ticket")
		eventually(t, "the counter is raised", func() bool {
			s.Publish(t.Context(), "{"+s.prefix+"}freed", s.key("a"))
			return s.Get(t.Context(), "{"+s.prefix+"}ticket").Val() == "42"
		})
		release(t, held)
		if err := <-old; err != nil {
			t.Error(err)
		}
	})
}

// TestRedis_CountersOfPrefix: however many keys were locked, Redis keeps two counters and nothing else.
func TestRedis_CountersOfPrefix(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.OwnRedis(t).Addr)
	locker := s.locker(t)
	for i := range 100 {
		key := strings.Repeat("k", i+1)
		release(t, acquire(t, locker, key, "order-"+key))
	}
	if n := s.DBSize(t.Context()).Val(); n != 1 {
		t.Errorf("%d names are left of locks that were all released: %q, want the fencing counter alone",
			n, s.Keys(t.Context(), "*").Val()[:3])
	}
}

// TestRedis_OldVersion: a counter or a lock of the version with one counter for each key is refused.
func TestRedis_OldVersion(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.Redis(t))
	old := "{" + s.prefix + "}fence:b"
	locker := s.locker(t)
	if err := s.Set(t.Context(), old, 7, 0).Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := locker.Acquire(within(t), "a", "b")
		if !errors.Is(err, lock.ErrOldVersion) || !strings.Contains(err.Error(), old) {
			t.Errorf("acquire = %v, want ErrOldVersion and the counter", err)
		}
	}
	if s.exists(t, "a") || s.exists(t, "b") {
		t.Error("a lock was taken")
	}
	s.Del(t.Context(), old)
	release(t, acquire(t, locker, "a", "b"))

	if err := s.Set(t.Context(), s.key("c"), "PROCESS.CLAIM:1", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := locker.Acquire(within(t), "c"); !errors.Is(err, lock.ErrOldVersion) {
		t.Errorf("acquire of a key that an older version holds = %v, want ErrOldVersion", err)
	}
}
