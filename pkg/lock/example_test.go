package lock_test

import (
	"context"
	"errors"
	"fmt"
	"time"

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
