package lock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/tcpproxy"
	"holdfast/pkg/lock"
)

func TestRedis_Hung(t *testing.T) {
	t.Parallel()
	const ttl, margin = 2 * time.Second, 500 * time.Millisecond
	own := stacktest.OwnRedis(t)
	s := newServer(t, own.Addr)
	locker := s.locker(t, lock.WithTTL(ttl), lock.WithMargin(margin))
	lease := acquire(t, locker, "k")
	if err := own.Process.Freeze(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Process.Thaw() })

	start := time.Now()
	if _, err := locker.Try(t.Context(), "other"); !errors.Is(err, lock.ErrUnavailable) ||
		errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("try = %v, want ErrUnavailable and no deadline of its caller's", err)
	}
	// One attempt and one clean-up of 250 ms each; go-redis alone would take 5 s.
	if got := time.Since(start); got > ttl {
		t.Errorf("try took %v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := locker.Acquire(ctx, "other"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("acquire = %v, want its context's error", err)
	}

	lostWith(t, lease, lock.ErrLost)
	if now := time.Now(); now.Before(lease.Until()) || now.After(lease.Until().Add(margin)) {
		t.Errorf("ended %v after Until, want within the margin, while the key must still be there", now.Sub(lease.Until()))
	}
	start = time.Now()
	if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrUnavailable) {
		t.Errorf("release = %v, want ErrUnavailable", err)
	}
	if got := time.Since(start); got > ttl+time.Second {
		t.Errorf("release took %v", got)
	}
	if err := own.Process.Thaw(); err != nil {
		t.Fatal(err)
	}
	release(t, acquire(t, locker, "k", "other"))
}

func TestRedis_BlackHole(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.Redis(t))
	p := tcpproxy.New(t, s.addr)
	p.Hold(tcpproxy.Replies) // from the first connection on
	locker := s.lockerAt(t, p.Addr(), lock.WithTTL(time.Second))
	for what, err := range map[string]error{
		"try":   func() error { _, err := locker.Try(t.Context(), "k"); return err }(),
		"raise": locker.Raise(t.Context(), "k", 7),
	} {
		if !errors.Is(err, lock.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s = %v, want ErrUnavailable and no deadline of its caller's", what, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := locker.Raise(ctx, "k", 7); !errors.Is(err, context.Canceled) {
		t.Errorf("raise = %v, want its context's error", err)
	}
	p.Pass()
	release(t, acquire(t, locker, "k"))
}

// late answers every command as go-redis does when the command's deadline passes before a connection is free.
type late struct{ attempts }

func (*late) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		cmd.SetErr(context.DeadlineExceeded)
		return context.DeadlineExceeded
	}
}

func TestRedis_DeadlineOfOurs(t *testing.T) {
	t.Parallel()
	client := lock.NewClient([]string{"127.0.0.1:1"})
	client.AddHook(&late{})
	locker, err := lock.NewRedis(client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = locker.Close(), client.Close() })
	_, err = locker.Try(t.Context(), "k")
	if !errors.Is(err, lock.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("try = %v, want ErrUnavailable and no deadline of its caller's", err)
	}
}

func TestRedis_Flushed(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.OwnRedis(t).Addr)
	locker := s.locker(t, lock.WithTTL(time.Second))
	release(t, acquire(t, locker, "k"))
	lease := acquire(t, locker, "k")
	if err := s.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	lostWith(t, lease, lock.ErrLost)
	if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("release = %v, want ErrLost", err)
	}
	next := acquire(t, locker, "k")
	if got := next.Token("k"); got >= lease.Token("k") {
		t.Errorf("token after the flush is %d, want it to have fallen behind %d", got, lease.Token("k"))
	}
	if err := locker.Raise(t.Context(), "k", lease.Token("k")); err != nil {
		t.Fatal(err)
	}
	release(t, next)
	next = acquire(t, locker, "k")
	if got := next.Token("k"); got <= lease.Token("k") {
		t.Errorf("token after Raise is %d, want more than %d", got, lease.Token("k"))
	}
	release(t, next)
}

func TestRedis_Restarted(t *testing.T) {
	t.Parallel()
	own := stacktest.OwnRedis(t)
	s := newServer(t, own.Addr)
	var opts []lock.Option
	long(&opts)
	holder, waiter := s.locker(t, opts...), s.locker(t, opts...)
	first := acquire(t, holder, "k")
	got := acquiring(t, waiter, "k")
	eventually(t, "the waiter has subscribed", func() bool { return s.subscribers(t) == 1 })
	if err := own.Restart(within(t)); err != nil { // the key is gone without a report
		t.Fatal(err)
	}
	lease := await(t, got) // the new subscription made it look again
	if err := first.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("release = %v, want ErrLost", err)
	}
	release(t, lease)
}

func TestRedis_ReplyDelayed(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.Redis(t))
	p := tcpproxy.New(t, s.addr)
	var opts []lock.Option
	long(&opts)
	locker := s.lockerAt(t, p.Addr(), opts...)
	release(t, acquire(t, locker, "k"))

	p.Hold(tcpproxy.Replies)
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() {
		_, err := locker.Acquire(ctx, "k")
		gaveUp <- err
	}()
	eventually(t, "Redis has set the key", func() bool { return s.exists(t, "k") })
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("acquire = %v, want context.Canceled", err)
	}
	p.Pass()
	eventually(t, "the key that nobody wants is gone", func() bool { return !s.exists(t, "k") })
}

func TestRedis_ReplyLost(t *testing.T) {
	t.Parallel()

	t.Run("of an acquisition: taken over by the next attempt", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		p := tcpproxy.New(t, s.addr)
		locker := s.lockerAt(t, p.Addr(), lock.WithTTL(time.Minute))
		release(t, acquire(t, locker, "k"))

		cleanUpFailed := p.LoseReplyAndNext()
		got := acquiring(t, locker, "k")
		<-cleanUpFailed
		if !s.exists(t, "k") {
			t.Error("the reply was lost, and so was the command")
		}
		lease := await(t, got) // long before the TTL of a minute
		if got := lease.Token("k"); got != 3 {
			t.Errorf("token %d, want 3: the attempt without an answer had drawn 2", got)
		}
		release(t, lease)
	})

	t.Run("of a release: asked again", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		p := tcpproxy.New(t, s.addr)
		locker := s.lockerAt(t, p.Addr(), lock.WithTTL(time.Minute))
		lease := acquire(t, locker, "k")
		release(t, lease)
		lease = acquire(t, locker, "k")
		p.LoseReply()
		err := lease.Release(t.Context())
		if err != nil {
			t.Errorf("release: %v", err)
		}
		if s.exists(t, "k") {
			t.Error("the key is still there")
		}
	})
}
