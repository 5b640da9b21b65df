package lock_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/pkg/lock"
)

// A transaction under a lock: the lease's context is the transaction's, the tokens are claimed first, the commit comes
// before the release.
func Example() {
	client := lock.NewClient([]string{"127.0.0.1:6379"})
	defer client.Close()
	locker, err := lock.NewRedis(client, lock.WithTTL(5*time.Second), lock.WithPrefix("shop:lock:"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer locker.Close()

	sell := func(ctx context.Context) (err error) {
		lease, err := locker.Acquire(ctx, "SKU-1", "SKU-2")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, lease.Release(ctx)) }()

		ctx = lease.Context()
		// tx := db.BeginTx(ctx); defer tx.Rollback()
		// UPDATE stock SET fence = lease.Token("SKU-1") WHERE sku = 'SKU-1' AND fence < lease.Token("SKU-1"), and so on
		// read, decide, write, tx.Commit()
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	switch err := sell(ctx); {
	case errors.Is(err, lock.ErrLost), errors.Is(err, lock.ErrMaxHold):
		fmt.Println("the lease ended before the work; the fence refused what came too late")
	case errors.Is(err, lock.ErrUnavailable):
		fmt.Println("no Redis")
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Println("waited too long")
	}
}

// Of several replicas one does the job; the others do not wait for it.
func ExampleLocker() {
	nightly := func(ctx context.Context, locker lock.Locker, report func(context.Context) error) error {
		lease, err := locker.Try(ctx, "nightly-report")
		if errors.Is(err, lock.ErrHeld) {
			return nil // another replica is at it
		}
		if err != nil {
			return err
		}
		return errors.Join(report(lease.Context()), lease.Release(ctx))
	}
	_ = nightly
}

// A resource that refuses every token has seen newer ones: Redis lost its counter.
func ExampleRedis_Raise() {
	heal := func(ctx context.Context, locker *lock.Redis, sku string, seen int64) error {
		return locker.Raise(ctx, sku, seen) // seen: SELECT fence FROM stock WHERE sku = ?
	}
	_ = heal
}

// A unit test of code that takes leases needs no server, and with fake time no patience either. Here the backend hangs, and
// the work under the lease hears of it before anybody else can get the key.
func ExampleNewMemory() {
	locker, err := lock.NewMemory(lock.WithTTL(time.Second))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer locker.Close()
	lease, err := locker.Acquire(context.Background(), "SKU-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	locker.Intercept(func(ctx context.Context, op lock.Op, _ []string) error {
		<-ctx.Done() // nothing is answered any more
		return ctx.Err()
	})
	<-lease.Context().Done()
	fmt.Println(errors.Is(context.Cause(lease.Context()), lock.ErrLost))
	fmt.Println(time.Now().Before(locker.Expires("SKU-1")))
	// Output:
	// true
	// true
}

// Each server of a Redlock has a client of its own.
func ExampleNewRedlock() {
	var nodes []redis.UniversalClient
	for _, addr := range []string{"10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"} {
		client := lock.NewClient([]string{addr})
		defer client.Close()
		nodes = append(nodes, client)
	}
	locker, err := lock.NewRedlock(nodes, lock.WithPrefix("shop:lock:"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer locker.Close()
}

// Leases pin connections: give the Locker a pool of its own.
func ExampleNewMySQL() {
	pool, err := sql.Open("mysql", "user:password@tcp(127.0.0.1:3306)/")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	locker, err := lock.NewMySQL(pool, lock.WithTTL(3*time.Second))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer locker.Close()
}
