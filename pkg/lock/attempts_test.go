package lock_test

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/lock"
)

// interrupted passes scripts on and breaks the connection around one of them.
type interrupted struct {
	passing
	mu     sync.Mutex
	before func(cmd redis.Cmder) // the next script is not sent, before gets it
	after  func()                // the next script is executed, then after is called
}

func (i *interrupted) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		i.mu.Lock()
		before, after := i.before, i.after
		if strings.HasPrefix(cmd.Name(), "eval") {
			i.before, i.after = nil, nil
		} else {
			before, after = nil, nil
		}
		i.mu.Unlock()
		switch {
		case before != nil:
			before(cmd)
		case after != nil:
			_ = next(ctx, cmd)
			after()
		default:
			return next(ctx, cmd)
		}
		cmd.SetErr(io.EOF)
		return io.EOF
	}
}

func (i *interrupted) set(before func(cmd redis.Cmder), after func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.before, i.after = before, after
}

// interruptible returns a Locker whose scripts the hook can interrupt. Its scripts are loaded.
func (s server) interruptible(t *testing.T, opts ...lock.Option) (*lock.Redis, *interrupted) {
	t.Helper()
	client, hook := lock.NewClient([]string{s.addr}), &interrupted{}
	client.AddHook(hook)
	locker := must[*lock.Redis](t)(lock.NewRedis(client, append(opts, lock.WithPrefix(s.prefix))...))
	t.Cleanup(func() { _, _ = locker.Close(), client.Close() })
	release(t, acquire(t, locker, "warm-up"))
	return locker, hook
}

// TestRedis_AnswerOfReleaseLost: the release is executed, its answer is lost, and a waiter takes the key before the
// release is retried. The lease was valid to its end, so the retry must not report it as lost.
func TestRedis_AnswerOfReleaseLost(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.Redis(t))
	holder, hook := s.interruptible(t, lock.WithTTL(time.Minute))
	lease := acquire(t, holder, "a", "b")
	got := acquiring(t, s.locker(t, lock.WithTTL(time.Minute)), "b")
	eventually(t, "the waiter has subscribed", func() bool { return s.subscribers(t) == 1 })

	var next *lock.Lease
	hook.set(nil, func() { next = await(t, got) })
	if err := lease.Release(t.Context()); err != nil {
		t.Errorf("release = %v, want nil: the lease was valid until it was released", err)
	}
	if !s.exists(t, "b") {
		t.Error("the release freed the key of the next holder")
	}
	release(t, next)
}

// TestRedis_LateAttempt: the command of an attempt that got no answer arrives after a later attempt of the same
// acquisition has succeeded.
func TestRedis_LateAttempt(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.Redis(t))
	locker, hook := s.interruptible(t, lock.WithTTL(time.Minute))
	var late []any
	hook.set(func(cmd redis.Cmder) { late = cmd.Args() }, nil)
	lease := acquire(t, locker, "a", "b")
	if late == nil {
		t.Fatal("no attempt was held back")
	}
	want := s.Get(t.Context(), s.key("a")).Val()
	if err := s.Do(t.Context(), late...).Err(); err != nil {
		t.Fatal(err)
	}
	if got := s.Get(t.Context(), s.key("a")).Val(); got != want {
		t.Errorf("the late attempt replaced %q with %q", want, got)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Errorf("release = %v, want nil", err)
	}
}
