package lock_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/dbtest"
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
		"MySQL":   func(t *testing.T) { dsn := dbtest.Server(t); locktest.Run(t, mysqlBackend(dsn)) },
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
		Can: locktest.Capabilities{Tokens: true, TTL: true},
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
			Can: locktest.Capabilities{Tokens: true, Tickets: true, TTL: true},
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
			Can: locktest.Capabilities{TTL: true},
		}
	}
}

func mysqlBackend(dsn string) func(tb testing.TB) locktest.Backend {
	return func(tb testing.TB) locktest.Backend {
		tb.Helper()
		admin := openMySQL(tb, dsn)
		prefix := rand.Text() + ":"
		return locktest.Backend{
			New: func(tb testing.TB, opts ...lock.Option) locktest.Locker {
				tb.Helper()
				return newMySQL(tb, dsn, prefix, opts...)
			},
			Lose: func(tb testing.TB, key string) {
				tb.Helper()
				killHolder(tb, admin, newMySQL(tb, dsn, prefix).LockName(key))
			},
			NewCut: func(tb testing.TB, opts ...lock.Option) (locktest.Locker, func()) {
				tb.Helper()
				cfg, err := mysql.ParseDSN(dsn)
				if err != nil {
					tb.Fatal(err)
				}
				p := tcpproxy.New(tb, cfg.Addr)
				cfg.Addr = p.Addr()
				return newMySQL(tb, cfg.FormatDSN(), prefix, opts...), func() { p.Hold(tcpproxy.Both) }
			},
		}
	}
}

func openMySQL(tb testing.TB, dsn string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

// newMySQL returns a Locker with a pool of its own: for the server, another process.
func newMySQL(tb testing.TB, dsn, prefix string, opts ...lock.Option) *lock.MySQL {
	tb.Helper()
	l := must[*lock.MySQL](tb)(lock.NewMySQL(openMySQL(tb, dsn), append(opts, lock.WithPrefix(prefix))...))
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

// killHolder ends the connection that holds the lock, as an administrator would, and returns when the lock is free.
func killHolder(tb testing.TB, admin *sql.DB, name string) {
	tb.Helper()
	holder := func() (id sql.NullInt64) {
		if err := admin.QueryRowContext(tb.Context(), "SELECT IS_USED_LOCK(?)", name).Scan(&id); err != nil {
			tb.Fatal(err)
		}
		return id
	}
	id := holder()
	if !id.Valid {
		tb.Fatalf("nobody holds %s", name)
	}
	if _, err := admin.ExecContext(tb.Context(), fmt.Sprintf("KILL %d", id.Int64)); err != nil { // MySQL prepares no KILL
		tb.Fatal(err)
	}
	eventually(tb, "the lock of the killed connection is free", func() bool { return holder() != id })
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
