package lock_test

import (
	"context"
	"crypto/rand"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/tcpproxy"
	"holdfast/pkg/lock"
	"holdfast/pkg/lock/locktest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(t *testing.T){
		"Memory":  func(t *testing.T) { locktest.Run(t, memoryBackend) },
		"Redis":   func(t *testing.T) { addr := stacktest.Redis(t); locktest.Run(t, redisBackend(addr)) },
		"Redlock": func(t *testing.T) { locktest.Run(t, redlockBackend(addrs(stacktest.OwnRedises(t, 3)))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t)
		})
	}
}

// must returns the Locker of a constructor that must not fail.
func must[L locktest.Locker](tb testing.TB) func(l L, err error) L {
	tb.Helper()
	return func(l L, err error) L {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return l
	}
}

func memoryBackend(tb testing.TB) locktest.Backend {
	tb.Helper()
	world := must[*lock.Memory](tb)(lock.NewMemory())
	tb.Cleanup(func() { _ = world.Close() })
	return locktest.Backend{
		New: func(tb testing.TB, opts ...lock.Option) locktest.Locker {
			tb.Helper()
			return must[*lock.Memory](tb)(world.Peer(opts...))
		},
		Lose: func(_ testing.TB, key string) { world.Evict(key) },
		NewCut: func(tb testing.TB, opts ...lock.Option) (locktest.Locker, func()) {
			tb.Helper()
			m := must[*lock.Memory](tb)(world.Peer(opts...))
			return m, func() {
				m.Intercept(func(ctx context.Context, _ lock.Op, _ []string) error {
					<-ctx.Done()
					return ctx.Err()
				})
			}
		},
		Can: locktest.Capabilities{Tokens: true},
	}
}

func redisBackend(addr string) func(tb testing.TB) locktest.Backend {
	return func(tb testing.TB) locktest.Backend {
		tb.Helper()
		s := newServer(tb, addr)
		return locktest.Backend{
			New: func(tb testing.TB, opts ...lock.Option) locktest.Locker {
				tb.Helper()
				return s.locker(tb, opts...)
			},
			Lose: func(tb testing.TB, key string) {
				tb.Helper()
				s.lose(tb, key)
			},
			NewCut: func(tb testing.TB, opts ...lock.Option) (locktest.Locker, func()) {
				tb.Helper()
				p := tcpproxy.New(tb, addr)
				return s.lockerAt(tb, p.Addr(), opts...), func() { p.Hold(tcpproxy.Both) }
			},
			Can: locktest.Capabilities{Tokens: true, Tickets: true},
		}
	}
}

func redlockBackend(addrs []string) func(tb testing.TB) locktest.Backend {
	return func(tb testing.TB) locktest.Backend {
		tb.Helper()
		nodes := newNodes(tb, addrs)
		return locktest.Backend{
			New: func(tb testing.TB, opts ...lock.Option) locktest.Locker {
				tb.Helper()
				return nodes.locker(tb, opts...)
			},
			Lose: func(tb testing.TB, key string) {
				tb.Helper()
				for _, s := range nodes {
					s.lose(tb, key)
				}
			},
			NewCut: func(tb testing.TB, opts ...lock.Option) (locktest.Locker, func()) {
				tb.Helper()
				var proxies []*tcpproxy.Proxy
				var behind []string
				for _, addr := range addrs {
					p := tcpproxy.New(tb, addr)
					proxies, behind = append(proxies, p), append(behind, p.Addr())
				}
				return nodes.lockerAt(tb, behind, opts...), func() {
					for _, p := range proxies {
						p.Hold(tcpproxy.Both)
					}
				}
			},
		}
	}
}

// nodes are the servers of a Redlock; they share a prefix.
type nodes []server

func newNodes(tb testing.TB, addrs []string) nodes {
	tb.Helper()
	var all nodes
	prefix := rand.Text() + ":"
	for _, addr := range addrs {
		s := server{Client: redis.NewClient(&redis.Options{Addr: addr}), addr: addr, prefix: prefix}
		tb.Cleanup(func() { _ = s.Close() })
		all = append(all, s)
	}
	return all
}

func (n nodes) addrs() []string {
	all := make([]string, len(n))
	for i, s := range n {
		all[i] = s.addr
	}
	return all
}

// locker returns a Redlock with clients of its own: for the servers, another process.
func (n nodes) locker(tb testing.TB, opts ...lock.Option) *lock.Redlock {
	tb.Helper()
	return n.lockerAt(tb, n.addrs(), opts...)
}

func (n nodes) lockerAt(tb testing.TB, addrs []string, opts ...lock.Option) *lock.Redlock {
	tb.Helper()
	return n.lockerOn(tb, newClients(addrs), opts...)
}

// newClients are one for each server.
func newClients(addrs []string) []redis.UniversalClient {
	clients := make([]redis.UniversalClient, len(addrs))
	for i, addr := range addrs {
		clients[i] = lock.NewClient([]string{addr})
	}
	return clients
}

// lockerOn returns a Redlock on these clients and closes them, too.
func (n nodes) lockerOn(tb testing.TB, clients []redis.UniversalClient, opts ...lock.Option) *lock.Redlock {
	tb.Helper()
	l := must[*lock.Redlock](tb)(lock.NewRedlock(clients, append(opts, lock.WithPrefix(n[0].prefix))...))
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
		for _, c := range clients {
			if err := c.Close(); err != nil {
				tb.Error(err)
			}
		}
	})
	return l
}
