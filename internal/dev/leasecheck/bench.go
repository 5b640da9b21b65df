package leasecheck

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver
	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/testkit"
	"holdfast/pkg/lock"
)

// Patience bounds what is waited for. It is generous: tests fill the machine.
const Patience = 60 * time.Second

// Bench is what a rung works with: a Redis, an empty stock in a database of its own, and lockers on both.
type Bench struct {
	tb      testing.TB
	subject Subject
	Addr    string // of Redis
	Prefix  string // of the locks
	DSN     string
	Redis   *redis.Client
	Stock   Stock
}

// NewBench makes one for a subject on the Redis at addr.
func NewBench(tb testing.TB, s Subject, addr string) *Bench {
	tb.Helper()
	b := &Bench{tb: tb, subject: s, Addr: addr, Prefix: rand.Text() + ":", DSN: dbtest.NewDSN(tb, nil)}
	b.Redis = redis.NewClient(&redis.Options{Addr: addr})
	db, err := sql.Open("mysql", b.DSN)
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxIdleConns(16)
	b.Stock = Stock{db}
	tb.Cleanup(func() {
		if err := errors.Join(db.Close(), b.Redis.Close()); err != nil {
			tb.Error(err)
		}
	})
	if err := b.Stock.Create(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return b
}

// shared is a Bench on the Redis that all tests share.
func shared(tb testing.TB, s Subject) *Bench {
	tb.Helper()
	return NewBench(tb, s, stacktest.Redis(tb))
}

// Put adds rows of stock.
func (b *Bench) Put(stock int64, keys ...string) {
	b.tb.Helper()
	for _, key := range keys {
		if err := b.Stock.Put(b.tb.Context(), key, stock); err != nil {
			b.tb.Fatal(err)
		}
	}
}

// Locker returns a locker with a client of its own, which is to Redis another process.
func (b *Bench) Locker(opts ...lock.Option) Locker {
	b.tb.Helper()
	return b.LockerAt(b.Addr, opts...)
}

// LockerAt is Locker by way of addr, a proxy's.
func (b *Bench) LockerAt(addr string, opts ...lock.Option) Locker {
	b.tb.Helper()
	client := lock.NewClient([]string{addr})
	locker, err := b.subject.NewLocker(client, append(opts, lock.WithPrefix(b.Prefix))...)
	if err != nil {
		b.tb.Fatal(err)
	}
	b.tb.Cleanup(func() {
		if err := errors.Join(locker.Close(), client.Close()); err != nil {
			b.tb.Error(err)
		}
	})
	return locker
}

// Acquire takes a lease or ends the test.
func (b *Bench) Acquire(l Locker, keys ...string) *lock.Lease {
	b.tb.Helper()
	lease, err := l.Acquire(Within(b.tb), keys...)
	if err != nil {
		b.tb.Fatal(err)
	}
	return lease
}

// LockName is the name of a key's lock in Redis, as pkg/lock documents it.
func (b *Bench) LockName(key string) string { return "{" + b.Prefix + "}key:" + key }

// Expire takes the lock of a key away, as its expiry does.
func (b *Bench) Expire(key string) {
	b.tb.Helper()
	if err := b.Redis.Del(b.tb.Context(), b.LockName(key)).Err(); err != nil {
		b.tb.Fatal(err)
	}
}

// RowAwaited reports whether a client waits for a row: the same update was seen at many looks in a row, while one that
// need not wait has ended before the second.
func (b *Bench) RowAwaited() bool {
	b.tb.Helper()
	for range 20 {
		var n int
		err := b.Stock.DB.QueryRowContext(b.tb.Context(), "SELECT COUNT(*) FROM information_schema.processlist "+
			"WHERE db = DATABASE() AND command <> 'Sleep' AND info LIKE 'UPDATE fenced%'").Scan(&n)
		if err != nil {
			b.tb.Fatal(err)
		}
		if n == 0 {
			return false
		}
		time.Sleep(time.Millisecond) // between two looks
	}
	return true
}

// Verify decides whether the history can have happened on a row that was put with stock, and whether the ledger says of
// each deduction the answer that its client received.
func (b *Bench) Verify(h History, key string, stock int64) error {
	b.tb.Helper()
	_, err := b.VerifyWindow(h, key, "", Row{Stock: stock})
	return err
}

// VerifyWindow is Verify for the part of a history in which IDs begin with prefix and the row stood at from at the
// start. No client works on the row any more. It returns where the row stands now.
func (b *Bench) VerifyWindow(h History, key, prefix string, from Row) (Row, error) {
	b.tb.Helper()
	to, err := b.Stock.Row(Within(b.tb), key)
	if err != nil {
		b.tb.Fatal(err)
	}
	sold, err := b.Stock.Sold(Within(b.tb), key, prefix)
	if err != nil {
		b.tb.Fatal(err)
	}
	return to, errors.Join(CheckFenced(h.Of(key), from, to), CheckLedger(h.Of(key), sold, from.Stock-to.Stock))
}

// CheckLedger compares the answers to clients of one key with the ledger, and the ledger with how much the stock
// went down. An unknown deduction may be in the ledger or not.
func CheckLedger(ops []Op, sold map[string]int64, down int64) error {
	var total int64
	for _, quantity := range sold {
		total += quantity
	}
	var errs []error
	if total != down {
		errs = append(errs, fmt.Errorf("the ledger says that %d were taken, but the stock went down by %d", total, down))
	}
	known := map[string]bool{}
	for _, op := range ops {
		known[op.ID] = true
		quantity, in := sold[op.ID]
		switch {
		case op.Outcome == Accepted && quantity != op.Quantity:
			errs = append(errs, fmt.Errorf("%s took %d and was accepted; the ledger has %d", op.ID, op.Quantity, quantity))
		case in && op.Outcome != Accepted && op.Outcome != Unknown:
			errs = append(errs, fmt.Errorf("%s was told %q and is in the ledger", op.ID, op.Outcome))
		}
	}
	for id := range sold {
		if !known[id] {
			errs = append(errs, fmt.Errorf("%s is in the ledger, and nobody took it", id))
		}
	}
	return errors.Join(errs...)
}

// Within is a context for one step of a test.
func Within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), Patience)
	tb.Cleanup(cancel)
	return ctx
}

// Eventually waits for a condition or ends the test.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	testkit.EventuallyTrue(tb, Patience, what, ok)
}
