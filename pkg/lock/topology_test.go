package lock_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/lock"
	"holdfast/pkg/lock/locktest"
)

// clusterBackend is a Redis Cluster for the suite; nothing can be put between it and its clients, as they learn the
// nodes' addresses from it, so a client is cut off by a hook.
func clusterBackend(addrs []string) func(tb testing.TB) locktest.Backend {
	return func(tb testing.TB) locktest.Backend {
		tb.Helper()
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
		tb.Cleanup(func() { _ = client.Close() })
		prefix := rand.Text() + ":"
		open := func(tb testing.TB, opts ...lock.Option) (*lock.Redis, redis.UniversalClient) {
			tb.Helper()
			client := lock.NewClient(addrs)
			l := must[*lock.Redis](tb)(lock.NewRedis(client, append(opts, lock.WithPrefix(prefix))...))
			tb.Cleanup(func() { _, _ = l.Close(), client.Close() })
			return l, client
		}
		return locktest.Backend{
			New: func(tb testing.TB, opts ...lock.Option) locktest.Locker {
				tb.Helper()
				l, _ := open(tb, opts...)
				return l
			},
			Lose: func(tb testing.TB, key string) {
				tb.Helper()
				if err := client.Del(tb.Context(), server{prefix: prefix}.key(key)).Err(); err != nil {
					tb.Fatal(err)
				}
			},
			NewCut: func(tb testing.TB, opts ...lock.Option) (locktest.Locker, func()) {
				tb.Helper()
				l, client := open(tb, opts...)
				return l, func() { client.AddHook(&blackHole{}) }
			},
			Can: locktest.Capabilities{Tokens: true, Tickets: true},
		}
	}
}

// blackHole is a hook that lets no command through.
type blackHole struct{ attempts }

func (*blackHole) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		<-ctx.Done()
		cmd.SetErr(ctx.Err())
		return ctx.Err()
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	all := addrs(stacktest.RedisCluster(t))
	t.Run("Conformance", func(t *testing.T) { t.Parallel(); locktest.Run(t, clusterBackend(all)) })
	t.Run("RepeatsNothing", func(t *testing.T) { t.Parallel(); clusterRepeatsNothing(t, all) })
	t.Run("Slots", func(t *testing.T) { t.Parallel(); clusterSlots(t, all) })
}

// broken breaks the connection after each script that was carried out, on the client of one node.
type broken struct {
	attempts
	on atomic.Bool
}

func (b *broken) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if !strings.HasPrefix(cmd.Name(), "eval") || !b.on.Load() {
			return err
		}
		b.n.Add(1)
		cmd.SetErr(io.EOF)
		return io.EOF
	}
}

// clusterRepeatsNothing: go-redis repeats a Cluster's commands after a broken connection, and does not tell. A release
// that was repeated finds nothing to free.
func clusterRepeatsNothing(t *testing.T, addrs []string) {
	t.Helper()
	client := lock.NewClient(addrs)
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		t.Fatalf("client is a %T", client)
	}
	hook := &broken{}
	cluster.OnNewNode(func(node *redis.Client) { node.AddHook(hook) })
	locker := must[*lock.Redis](t)(lock.NewRedis(client, lock.WithPrefix("repeat:")))
	t.Cleanup(func() { _, _ = locker.Close(), client.Close() })

	lease := acquire(t, locker, "k")
	hook.on.Store(true)
	if err := locker.Raise(t.Context(), "k", 7); !errors.Is(err, lock.ErrUnavailable) {
		t.Errorf("raise = %v, want ErrUnavailable", err)
	}
	if n := hook.n.Load(); n != 1 {
		t.Errorf("a script whose connection broke was sent %d times", n)
	}
	hook.on.Store(false)
	release(t, lease)
}

// clusterSlots: locks of different prefixes live on different nodes, those of one prefix on one.
func clusterSlots(t *testing.T, addrs []string) {
	t.Helper()
	client := lock.NewClient(addrs)
	t.Cleanup(func() { _ = client.Close() })
	homes := make(map[string]bool)
	for _, prefix := range []string{"a:", "b:", "c:", "d:", "e:", "f:"} {
		locker := must[*lock.Redis](t)(lock.NewRedis(client, lock.WithPrefix(prefix)))
		lease := acquire(t, locker, "one", "two{x}", "three") // one script: they must share a slot
		for _, addr := range addrs {
			node := redis.NewClient(&redis.Options{Addr: addr})
			if n := len(node.Keys(t.Context(), "{"+prefix+"}key:*").Val()); n == 3 {
				homes[addr] = true
			} else if n != 0 {
				t.Errorf("%d of 3 keys on one node", n)
			}
			_ = node.Close()
		}
		release(t, lease)
		if err := locker.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(homes) < 2 {
		t.Errorf("six prefixes on %d node", len(homes))
	}
}

// resource is what a lock protects when it has the last word: it refuses tokens that are not newer than the last.
type resource struct{ seen int64 }

func (r *resource) claim(token int64) error {
	if token <= r.seen {
		return lock.ErrStale
	}
	r.seen = token
	return nil
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	s := stacktest.NewRedisSentinel(t)
	t.Run("ReplicaRefuses", func(t *testing.T) { replicaRefuses(t, s) })
	t.Run("Failover", func(t *testing.T) { failover(t, s) })
}

// failover kills the master under leases. Redis replicates after it has answered, so what the old master granted last
// may be unknown to the new one: then the lease is lost, and tokens may fall behind. What must hold: no holder that has
// lost it is answered that it holds it, and the resource never goes back.
func failover(t *testing.T, s *stacktest.RedisSentinel) {
	t.Helper()
	client := lock.NewSentinelClient(s.Master, s.Sentinels)
	prefix := rand.Text() + ":"
	locker := must[*lock.Redis](t)(lock.NewRedis(client, lock.WithPrefix(prefix), lock.WithTTL(8*time.Second)))
	t.Cleanup(func() { _, _ = locker.Close(), client.Close() })
	var res resource
	for range 5 {
		lease := acquire(t, locker, "k")
		if err := res.claim(lease.Token("k")); err != nil {
			t.Fatal(err)
		}
		release(t, lease)
	}
	replica := server{Client: redis.NewClient(&redis.Options{Addr: s.Second.Addr}), prefix: prefix}
	t.Cleanup(func() { _ = replica.Close() })
	eventually(t, "the replica has the counter", func() bool { return replica.Get(t.Context(), replica.fence()).Val() == "5" })
	// Now it gets nothing more, the worst case of an asynchronous replication made certain: its connection is broken, and
	// with a wrong password it does not get another.
	for _, err := range []error{
		replica.ConfigSet(t.Context(), "masterauth", "wrong").Err(),
		replica.Do(t.Context(), "CLIENT", "KILL", "TYPE", "master").Err(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	held, forgotten := acquireFor(t, locker, "held"), acquireFor(t, locker, "k")
	if err := res.claim(forgotten.Token("k")); err != nil {
		t.Fatal(err)
	}
	if err := s.First.Process.Kill(); err != nil {
		t.Fatal(err)
	}

	for _, lease := range []*lock.Lease{held, forgotten} {
		lostWith(t, lease, lock.ErrLost) // by its timer, or by the new master's "not mine"
		if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) && !errors.Is(err, lock.ErrUnavailable) {
			t.Errorf("release = %v, want ErrLost or ErrUnavailable", err)
		}
	}
	var lease *lock.Lease
	eventually(t, "the new master grants leases", func() bool {
		var err error
		lease, err = locker.Try(t.Context(), "k")
		return err == nil
	})
	token := lease.Token("k")
	if token > res.seen {
		t.Fatalf("token %d: the new master knows what was never replicated to it", token)
	}
	if err := res.claim(token); !errors.Is(err, lock.ErrStale) {
		t.Errorf("claim with token %d of a counter that fell behind = %v, want ErrStale", token, err)
	}
	if err := locker.Raise(t.Context(), "k", res.seen); err != nil {
		t.Fatal(err)
	}
	release(t, lease)
	lease = acquire(t, locker, "k")
	if err := res.claim(lease.Token("k")); err != nil {
		t.Errorf("claim after Raise with token %d: %v", lease.Token("k"), err)
	}
	t.Logf("the failover gave token %d twice; the resource went from %d to %d", token, forgotten.Token("k"), res.seen)
	release(t, lease)
}

// replicaRefuses: a client that is sent to a replica cannot be told from one that is not before it is used; then the
// replica refuses.
func replicaRefuses(t *testing.T, s *stacktest.RedisSentinel) {
	t.Helper()
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: s.Master, SentinelAddrs: s.Sentinels, ReplicaOnly: true, ContextTimeoutEnabled: true, MaxRetries: -1,
	})
	locker := must[*lock.Redis](t)(lock.NewRedis(client))
	t.Cleanup(func() { _, _ = locker.Close(), client.Close() })
	_, err := locker.Try(within(t), "k")
	if !errors.Is(err, lock.ErrUnavailable) || !strings.Contains(err.Error(), "READONLY") {
		t.Errorf("try on a replica = %v, want ErrUnavailable and READONLY", err)
	}
}

// acquireFor is acquire for a lease that may be longer than a wait may last.
func acquireFor(t *testing.T, l lock.Locker, keys ...string) *lock.Lease {
	t.Helper()
	lease, err := l.Acquire(t.Context(), keys...)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}
