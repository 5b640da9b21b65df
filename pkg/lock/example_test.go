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

// A transaction under a lock. Four things make it right: the lease's context is the transaction's, the token is claimed
// before anything is read, the commit comes before the release, and a claim that changes no row ends the transaction.
func Example() {
	servers := startServers()
	defer servers.close()
	db := servers.stock("MUG", 10)
	locker, err := lock.NewRedis(servers.client, lock.WithTTL(5*time.Second), lock.WithPrefix(servers.prefix))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer locker.Close()

	sell := func(ctx context.Context, n int) (left int, err error) {
		lease, err := locker.Acquire(ctx, "MUG")
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, lease.Release(ctx)) }() // after the commit, and on every way out

		tx, err := db.BeginTx(lease.Context(), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		if err != nil {
			return 0, err
		}
		defer func() { _ = tx.Rollback() }() // after a commit it does nothing

		claimed, err := tx.Exec("UPDATE stock SET fence = ? WHERE sku = ? AND fence < ?", lease.Token("MUG"), "MUG", lease.Token("MUG"))
		if err != nil {
			return 0, err
		}
		if n, err := claimed.RowsAffected(); err != nil || n == 0 {
			return 0, errors.Join(lock.ErrStale, err) // a newer lease has claimed
		}
		if err := tx.QueryRow("SELECT available FROM stock WHERE sku = ?", "MUG").Scan(&left); err != nil {
			return 0, err
		}
		if left < n {
			return left, errors.New("out of stock")
		}
		left -= n
		if _, err := tx.Exec("UPDATE stock SET available = ? WHERE sku = ?", left, "MUG"); err != nil {
			return 0, err
		}
		return left, tx.Commit()
	}

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	fmt.Println(sell(ctx, 7))
	fmt.Println(sell(ctx, 7))
	// Output:
	// 3 <nil>
	// 3 out of stock
}

// A long job works under the lease's context, is renewed while it does, and stops when that context ends: here, because
// another owner's key is where its own should be.
func ExampleLease_Context() {
	servers := startServers()
	defer servers.close()
	locker, err := lock.NewRedis(servers.client, lock.WithTTL(3*time.Second), lock.WithMaxHold(time.Minute), lock.WithPrefix(servers.prefix))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer locker.Close()
	ctx := context.Background()
	lease, err := locker.Acquire(ctx, "rebuild-index")
	if err != nil {
		fmt.Println(err)
		return
	}

	work, granted, stolen := lease.Context(), lease.Until(), false
	for work.Err() == nil {
		select { // an item of work, which must end with the context too
		case <-time.After(10 * time.Millisecond):
		case <-work.Done():
		}
		if !stolen && lease.Until().After(granted) {
			fmt.Println("still at work, the lease was renewed")
			servers.steal("rebuild-index")
			stolen = true
		}
	}
	switch cause := context.Cause(work); {
	case errors.Is(cause, lock.ErrNotRenewed):
		fmt.Println("Redis did not answer in time; the job goes on later")
	case errors.Is(cause, lock.ErrLost):
		fmt.Println("another owner has the key and does the job")
	case errors.Is(cause, lock.ErrMaxHold):
		fmt.Println("the job takes longer than it was meant to")
	}
	fmt.Println(errors.Is(lease.Release(ctx), lock.ErrLost))
	// Output:
	// still at work, the lease was renewed
	// another owner has the key and does the job
	// true
}

// Several keys are taken together or not at all, in one round trip, and whatever order they are named in: callers who
// want the same keys cannot deadlock. All have one token, to be claimed in each of their rows, in key order.
func ExampleRedis_Acquire_severalKeys() {
	servers := startServers()
	defer servers.close()
	locker, err := lock.NewRedis(servers.client, lock.WithPrefix(servers.prefix))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer locker.Close()
	ctx := context.Background()

	plate, err := locker.Acquire(ctx, "PLATE")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = locker.Try(ctx, "PLATE", "MUG")
	fmt.Println("while PLATE is held:", errors.Is(err, lock.ErrHeld))
	mug, err := locker.Try(ctx, "MUG")
	fmt.Println("MUG is still free:", err == nil)
	if err := errors.Join(plate.Release(ctx), mug.Release(ctx)); err != nil {
		fmt.Println(err)
	}

	both, err := locker.Acquire(ctx, "PLATE", "MUG")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("tokens:", both.Token("MUG"), both.Token("PLATE"))
	fmt.Println(both.Release(ctx))
	// Output:
	// while PLATE is held: true
	// MUG is still free: true
	// tokens: 3 3
	// <nil>
}

// Of several replicas one does the job; the others do not wait for it.
func ExampleRedis_Try() {
	servers := startServers()
	defer servers.close()
	nightly := func(ctx context.Context, report func(context.Context) error) error {
		locker, err := lock.NewRedis(servers.client, lock.WithPrefix(servers.prefix))
		if err != nil {
			return err
		}
		defer locker.Close()
		lease, err := locker.Try(ctx, "nightly-report")
		if errors.Is(err, lock.ErrHeld) {
			fmt.Println("another replica is at it")
			return nil
		}
		if err != nil {
			return err
		}
		return errors.Join(report(lease.Context()), lease.Release(ctx))
	}
	err := nightly(context.Background(), func(ctx context.Context) error {
		fmt.Println("reporting")
		return nightly(ctx, nil) // what another replica would find meanwhile
	})
	fmt.Println(err)
	// Output:
	// reporting
	// another replica is at it
	// <nil>
}

// Acquire, work and release in one call. The work runs under the lease's context, and ends when the lease is lost.
func ExampleDo() {
	servers := startServers()
	defer servers.close()
	locker, err := lock.NewRedis(servers.client, lock.WithPrefix(servers.prefix))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer locker.Close()
	err = lock.Do(context.Background(), locker, []string{"MUG", "PLATE"}, func(ctx context.Context, lease *lock.Lease) error {
		fmt.Println("one token for both:", lease.Token("MUG") == lease.Token("PLATE"))
		return ctx.Err()
	})
	fmt.Println(err)
	// Output:
	// one token for both: true
	// <nil>
}

// A user's request waits for a short time, and a job holds its lease for long; both stand in the same queue. MaxWait
// ends the wait only, where a deadline of the context would end the lease as well.
func ExampleRedis_With() {
	servers := startServers()
	defer servers.close()
	locker, err := lock.NewRedis(servers.client, lock.WithPrefix(servers.prefix))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer locker.Close()
	request := locker.With(lock.WithMaxWait(50*time.Millisecond), lock.WithTTL(2*time.Second))
	job := locker.With(lock.WithTTL(10*time.Second), lock.WithMaxHold(10*time.Minute))
	ctx := context.Background()

	lease, err := job.Acquire(ctx, "MUG")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = request.Acquire(ctx, "MUG")
	fmt.Println("the request waited long enough:", errors.Is(err, lock.ErrMaxWait))
	fmt.Println(lease.Release(ctx))
	// Output:
	// the request waited long enough: true
	// <nil>
}

// Holder is for an operator. It may have changed when it arrives.
func ExampleRedis_Holder() {
	servers := startServers()
	defer servers.close()
	locker, err := lock.NewRedis(servers.client, lock.WithPrefix(servers.prefix), lock.WithMetadata("inventory-2"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer locker.Close()
	ctx := context.Background()
	lease, err := locker.Acquire(ctx, "MUG")
	if err != nil {
		fmt.Println(err)
		return
	}
	holder, held, err := locker.Holder(ctx, "MUG")
	fmt.Println(held, holder.Metadata, holder.Left > 0, err)
	fmt.Println(lease.Release(ctx))
	_, held, err = locker.Holder(ctx, "MUG")
	fmt.Println(held, err)
	// Output:
	// true inventory-2 true <nil>
	// <nil>
	// false <nil>
}

// Where a failover must seldom forget a lease, a grant waits until a replica has it. Without one nothing is granted.
func ExampleWithWaitReplicas() {
	servers := startServers()
	defer servers.close()
	locker, err := lock.NewRedis(servers.client, lock.WithPrefix(servers.prefix), lock.WithWaitReplicas(1, 100*time.Millisecond))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer locker.Close()
	_, err = locker.Try(context.Background(), "MUG")
	fmt.Println(errors.Is(err, lock.ErrUnavailable)) // this server has no replica
	// Output:
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
