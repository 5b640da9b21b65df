package lock_test

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/testkit"
	"holdfast/pkg/lock"
)

// deadline bounds what a test waits for. It is below the TTL of long, so that what happens within it did not happen
// because a key expired.
const deadline = 20 * time.Second

// server is a Redis, seen by a test: names are those that pkg/lock documents.
type server struct {
	*redis.Client
	addr   string
	prefix string
}

func newServer(t testing.TB, addr string) server {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	s := server{Client: client, addr: addr, prefix: rand.Text() + ":"}
	t.Cleanup(func() {
		s.removeKeys(t)
		_ = client.Close()
	})
	return s
}

// removeKeys deletes what the test left: the counters have no TTL, and the server may be a shared one.
func (s server) removeKeys(t testing.TB) {
	t.Helper()
	ctx := context.Background() // the test's own has ended
	keys := s.Scan(ctx, 0, "{"+s.prefix+"}*", 1000).Iterator()
	for keys.Next(ctx) {
		if err := s.Del(ctx, keys.Val()).Err(); err != nil {
			t.Error(err)
		}
	}
	if err := keys.Err(); err != nil {
		t.Error(err)
	}
}

func (s server) key(k string) string  { return "{" + s.prefix + "}key:" + k }
func (s server) keep(k string) string { return "{" + s.prefix + "}keep:" + k }
func (s server) fence() string        { return "{" + s.prefix + "}fence" }

// long makes keys outlive every test.
func long(s *[]lock.Option) { *s = append(*s, lock.WithTTL(time.Minute), lock.WithPoll(time.Hour)) }

// locker returns a Locker with a client of its own: for Redis, another process.
func (s server) locker(t testing.TB, opts ...lock.Option) *lock.Redis {
	t.Helper()
	return s.lockerAt(t, s.addr, opts...)
}

func (s server) lockerAt(t testing.TB, addr string, opts ...lock.Option) *lock.Redis {
	t.Helper()
	client := lock.NewClient([]string{addr})
	locker, err := lock.NewRedis(client, append(opts, lock.WithPrefix(s.prefix))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(locker.Close(), locker.Close(), client.Close()); err != nil {
			t.Error(err)
		}
	})
	return locker
}

// subscribers returns how many processes listen for freed keys.
func (s server) subscribers(t testing.TB) int64 {
	t.Helper()
	channel := "{" + s.prefix + "}freed"
	n, err := s.PubSubNumSub(t.Context(), channel).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n[channel]
}

func (s server) exists(t testing.TB, k string) bool {
	t.Helper()
	n, err := s.Exists(t.Context(), s.key(k)).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n == 1
}

// lose deletes the key behind its holder's back.
func (s server) lose(t testing.TB, k string) {
	t.Helper()
	if err := s.Del(t.Context(), s.key(k)).Err(); err != nil {
		t.Fatal(err)
	}
}

// addrs are the servers' addresses.
func addrs(servers []*stack.Redis) []string {
	all := make([]string, len(servers))
	for i, s := range servers {
		all[i] = s.Addr
	}
	return all
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testkit.EventuallyTrue(t, deadline, what, ok)
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func acquire(t testing.TB, l lock.Locker, keys ...string) *lock.Lease {
	t.Helper()
	lease, err := l.Acquire(within(t), keys...)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

// acquiring starts an Acquire of its own; the channel yields the lease, or nothing when it failed.
func acquiring(t testing.TB, l lock.Locker, keys ...string) <-chan *lock.Lease {
	t.Helper()
	got := make(chan *lock.Lease, 1)
	ctx := within(t)
	go func() {
		defer close(got)
		lease, err := l.Acquire(ctx, keys...)
		if err != nil {
			t.Error(err)
			return
		}
		got <- lease
	}()
	return got
}

func await(t testing.TB, got <-chan *lock.Lease) *lock.Lease {
	t.Helper()
	lease, ok := <-got
	if !ok {
		t.FailNow()
	}
	return lease
}

func release(t testing.TB, lease *lock.Lease) {
	t.Helper()
	if err := lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func lostWith(t testing.TB, lease *lock.Lease, cause error) {
	t.Helper()
	select {
	case <-lease.Context().Done():
	case <-time.After(deadline):
		t.Fatal("the lease's context did not end")
	}
	if got := context.Cause(lease.Context()); !errors.Is(got, cause) {
		t.Errorf("cause = %v, want %v", got, cause)
	}
}

// passing is what a hook for single commands does with everything else.
type passing struct{}

func (passing) DialHook(next redis.DialHook) redis.DialHook { return next }

func (passing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// attempts counts the commands of a client.
type attempts struct {
	passing
	n atomic.Int64
}

func (a *attempts) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		defer a.n.Add(1)
		return next(ctx, cmd)
	}
}
