package lock_test

import (
	"testing"
	"time"

	"holdfast/internal/stack/stacktest"
	"holdfast/internal/tcpproxy"
	"holdfast/pkg/lock"
)

// turn is for how long a freed key is kept for the process whose turn it is.
const turn = 20 * time.Millisecond

func (s server) next(t testing.TB, k string) string {
	t.Helper()
	return s.Get(t.Context(), "{"+s.prefix+"}next:"+k).Val()
}

func TestRedis_Turns(t *testing.T) {
	t.Parallel()
	var opts []lock.Option
	long(&opts)

	t.Run("the first process that is kept waiting is next", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		holder, other := s.locker(t, opts...), s.locker(t, opts...)
		p := tcpproxy.New(t, s.addr)
		away := s.lockerAt(t, p.Addr(), opts...)
		lease := acquire(t, holder, "k")

		lost := make(chan error, 1)
		go func() {
			_, err := away.Acquire(t.Context(), "k")
			lost <- err
		}()
		eventually(t, "a waiter is next", func() bool { return s.next(t, "k") != "" })
		got := acquiring(t, other, "k")
		eventually(t, "both have subscribed", func() bool { return s.subscribers(t) == 2 })
		p.Hold(tcpproxy.Both) // it will not hear that its turn has come
		released := time.Now()
		release(t, lease)
		lease = await(t, got)
		if d := time.Since(released); d < turn {
			t.Errorf("the key went to another process %v after the release, want it kept for %v", d, turn)
		}
		if next := s.next(t, "k"); next != "" {
			t.Errorf("%s is next although its turn is over", next)
		}
		release(t, lease)
		p.Pass()
		if err := away.Close(); err != nil {
			t.Error(err)
		}
		<-lost
	})

	t.Run("no process is next after itself", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		locker := s.locker(t, opts...)
		lease := acquire(t, locker, "k")
		got := acquiring(t, locker, "k")
		eventually(t, "the waiter was refused and has subscribed", func() bool { return s.subscribers(t) == 1 })
		if next := s.next(t, "k"); next != "" {
			t.Errorf("%s is next: it would hold up the others once more", next)
		}
		release(t, lease)
		release(t, await(t, got))
	})

	t.Run("Try neither waits for its turn nor takes one", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		locker := s.locker(t, opts...)
		if err := s.Set(t.Context(), "{"+s.prefix+"}next:k", "somebody", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		lease, err := locker.Try(within(t), "k", "l")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.locker(t).Try(within(t), "l"); err == nil || s.next(t, "l") != "" {
			t.Errorf("try = %v, next %q; want a refusal and nobody next", err, s.next(t, "l"))
		}
		release(t, lease)
	})
}
