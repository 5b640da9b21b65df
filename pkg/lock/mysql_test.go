package lock_test

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/tcpproxy"
	"holdfast/pkg/lock"
)

// ownMySQL returns a Locker, its pool and the proxy in between.
func ownMySQL(t *testing.T, params map[string]string, opts ...lock.Option) (*lock.MySQL, *sql.DB, *tcpproxy.Proxy) {
	t.Helper()
	cfg, err := mysql.ParseDSN(dbtest.Server(t))
	if err != nil {
		t.Fatal(err)
	}
	p := tcpproxy.New(t, cfg.Addr)
	cfg.Addr, cfg.Params = p.Addr(), params
	db := openMySQL(t, cfg.FormatDSN())
	l := must[*lock.MySQL](t)(lock.NewMySQL(db, append(opts, lock.WithPrefix(rand.Text()))...))
	t.Cleanup(func() { _ = l.Close() })
	return l, db, p
}

func TestMySQL_GivesConnectionsBack(t *testing.T) {
	t.Parallel()
	l, db, _ := ownMySQL(t, nil, lock.WithTTL(time.Minute))
	lease := acquire(t, l, "held")
	for range 10 {
		release(t, acquire(t, l, "a", "b", "c"))
		if _, err := l.Try(within(t), "a", "held", "z"); !errors.Is(err, lock.ErrHeld) {
			t.Errorf("try = %v, want ErrHeld", err)
		}
	}
	if s := db.Stats(); s.InUse != 1 || s.OpenConnections > 3 {
		t.Errorf("%d connections in use and %d open for one lease", s.InUse, s.OpenConnections)
	}
	var locks int // on the connections that were given back and are used again
	if err := db.QueryRowContext(t.Context(), "SELECT RELEASE_ALL_LOCKS()").Scan(&locks); err != nil || locks != 0 {
		t.Errorf("a connection was given back with %d locks, %v", locks, err)
	}
	release(t, lease)
	if s := db.Stats(); s.InUse != 0 {
		t.Errorf("%d connections in use after the last release", s.InUse)
	}
}

func TestMySQL_NoConnectionLeft(t *testing.T) {
	t.Parallel()
	l, db, _ := ownMySQL(t, nil, lock.WithTTL(time.Minute))
	db.SetMaxOpenConns(1)
	lease := acquire(t, l, "k")
	if _, err := l.Try(within(t), "other"); !errors.Is(err, lock.ErrUnavailable) {
		t.Errorf("try with an exhausted pool = %v, want ErrUnavailable", err)
	}
	release(t, lease)
	release(t, acquire(t, l, "other"))
}

// The server frees the locks of a connection the moment that it ends; the holder learns it when it looks. What a TTL
// would have kept apart overlaps for as long as that takes, a third of the TTL at most.
func TestMySQL_BrokenConnection(t *testing.T) {
	t.Parallel()
	l, _, p := ownMySQL(t, nil, lock.WithTTL(6*time.Second))
	lease := acquire(t, l, "k")
	granted := time.Now()
	p.Cut()
	p.Restore()
	second := acquire(t, l, "k")
	if lease.Context().Err() == nil {
		t.Logf("two holders after %v: the first does not know yet", time.Since(granted))
	}
	lostWith(t, lease, lock.ErrLost)
	if now := time.Now(); now.After(lease.Until()) {
		t.Errorf("lost %v after Until: by the timer, and not by looking", now.Sub(lease.Until()))
	}
	for range 2 {
		if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
			t.Errorf("release = %v, want ErrLost", err)
		}
	}
	if err := second.Context().Err(); err != nil {
		t.Errorf("the second lease ended with the first: %v", err)
	}
	release(t, second)
}

func TestMySQL_ReleaseWithoutAnswer(t *testing.T) {
	t.Parallel()
	l, db, p := ownMySQL(t, nil, lock.WithTTL(time.Minute))
	lease := acquire(t, l, "k")
	p.Cut()
	p.Restore()
	for range 2 {
		if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrUnavailable) {
			t.Errorf("release over a broken connection = %v, want ErrUnavailable", err)
		}
	}
	if s := db.Stats(); s.InUse != 0 {
		t.Errorf("%d connections in use", s.InUse)
	}
	release(t, acquire(t, l, "k")) // long before the TTL
}

// A holder that hangs must not hold its connection, and with it the lock, for ever.
func TestMySQL_MaxHoldClosesTheConnection(t *testing.T) {
	t.Parallel()
	l, db, _ := ownMySQL(t, nil, lock.WithTTL(time.Second), lock.WithMaxHold(time.Second))
	lease := acquire(t, l, "k")
	eventually(t, "the connection is closed", func() bool { return db.Stats().InUse == 0 })
	if time.Now().Before(lease.Until()) {
		t.Error("closed before the lease's end")
	}
	lostWith(t, lease, lock.ErrMaxHold)
	if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("release = %v, want ErrLost", err)
	}
}

// The server ends sessions that are silent for wait_timeout. Renewals are what keeps a lease's session talking.
func TestMySQL_SilentSession(t *testing.T) {
	t.Parallel()
	silent := map[string]string{"wait_timeout": "1"}

	t.Run("is kept by the renewals", func(t *testing.T) {
		t.Parallel()
		l, _, _ := ownMySQL(t, silent, lock.WithTTL(time.Second), lock.WithMaxHold(time.Minute))
		lease := acquire(t, l, "k")
		granted := time.Now()
		eventually(t, "renewed for three times the server's patience", func() bool {
			return lease.Until().Sub(granted) > 3*time.Second || lease.Context().Err() != nil
		})
		release(t, lease)
	})

	t.Run("is lost when they come too seldom", func(t *testing.T) {
		t.Parallel()
		l, _, _ := ownMySQL(t, silent, lock.WithTTL(6*time.Second))
		lostWith(t, acquire(t, l, "k"), lock.ErrLost)
	})
}

func TestMySQL_LockName(t *testing.T) {
	t.Parallel()
	names := make(map[string]string)
	for _, prefix := range []string{"p:", strings.Repeat("p", 128)} {
		l := must[*lock.MySQL](t)(lock.NewMySQL(openMySQL(t, "root@tcp(127.0.0.1:1)/"), lock.WithPrefix(prefix)))
		t.Cleanup(func() { _ = l.Close() })
		for _, key := range []string{"k", "K", "ké", "k\x00", strings.Repeat("k", 512), strings.Repeat("k", 511) + "j"} {
			name := l.LockName(key)
			if len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
				t.Errorf("the name of %.20q is %q", key, name)
			}
			folded := strings.ToLower(name) // as MySQL does
			if other, taken := names[folded]; taken {
				t.Errorf("%.20q and %.20q have the same name %s", key, other, name)
			}
			names[folded] = prefix + key
		}
	}
}
