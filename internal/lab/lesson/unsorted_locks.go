package lesson

import (
	"context"
	stdsql "database/sql"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/database"
)

func unsortedLocks() Lesson {
	return Lesson{
		Name:  "unsorted-locks",
		Title: "two carts with the same products in opposite order",
		Run:   runUnsortedLocks,
	}
}

// shirt is the second product in the carts.
const shirt = "TEE-BLACK-M"

func carts() [2][]string { return [2][]string{{sku, shirt}, {shirt, sku}} }

// giveUp is how long a cart waits for a lock in Redis.
const giveUp = 1500 * time.Millisecond

func runUnsortedLocks(ctx context.Context, e *Env) error {
	s, err := e.shelf(ctx)
	if err != nil {
		return err
	}
	if err := e.twoProducts(ctx, s); err != nil {
		return err
	}
	inRedis := func(ctx context.Context, cart []string, meet func()) (bool, error) {
		return lockInRedis(ctx, e, s, cart, meet)
	}
	e.Step("Locks in Redis: A has the mug and wants the shirt, B has the shirt and wants the mug.")
	failed, err := bothCarts(ctx, carts(), inRedis)
	if err != nil {
		return err
	}
	e.Show("after %v: %d of 2 carts gave up", giveUp, failed)
	e.Check(failed > 0, "Redis does not detect the deadlock: both carts wait until they give up")

	inRows := func(ctx context.Context, cart []string, meet func()) (bool, error) {
		return lockRows(ctx, s.db, cart, meet)
	}
	e.Step("The same with rows: SELECT … FOR UPDATE, one after the other, in the cart's order.")
	failed, err = bothCarts(ctx, carts(), inRows)
	if err != nil {
		return err
	}
	e.Show("%d of 2 carts got error 1213, deadlock", failed)
	e.Check(failed == 1, "the database detects the deadlock and ends one transaction; the other succeeds")

	e.Step("Sorted: both lock the mug first.")
	failed = 0
	sorted := carts()
	for i := range sorted {
		slices.Sort(sorted[i])
	}
	for _, where := range []taker{inRedis, inRows} {
		n, err := bothCarts(ctx, sorted, func(ctx context.Context, cart []string, _ func()) (bool, error) {
			return where(ctx, cart, func() {}) // the second cart waits for its first lock
		})
		if err != nil {
			return err
		}
		failed += n
	}
	e.Check(failed == 0, "one waits for the other, and both succeed, in Redis and in the database")
	return nil
}

// twoProducts creates the mug and the shirt.
func (e *Env) twoProducts(ctx context.Context, s *shelf) error {
	lab, err := e.lab(ctx, s.dsn, "for-update")
	if err != nil {
		return err
	}
	return errors.Join(lab.Stock(ctx, sku, 10, "first-mug"), lab.Stock(ctx, shirt, 10, "first-shirt"))
}

// taker takes the locks of a cart one after the other and calls meet when it holds the first. It returns false when it
// had to give up.
type taker func(ctx context.Context, cart []string, meet func()) (bool, error)

// bothCarts runs two carts concurrently and returns how many failed. A cart that holds its first lock calls meet,
// which waits until the other cart holds its first lock.
func bothCarts(ctx context.Context, carts [2][]string, take taker) (failed int, err error) {
	g, ctx := errgroup.WithContext(ctx)
	var got [2]bool
	arrived := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	for i, cart := range carts {
		g.Go(func() (err error) {
			got[i], err = take(ctx, cart, func() {
				close(arrived[i])
				select {
				case <-arrived[1-i]:
				case <-ctx.Done(): // the other cart has failed
				}
			})
			return err
		})
	}
	err = g.Wait()
	for _, ok := range got {
		if !ok {
			failed++
		}
	}
	return failed, err
}

// lockInRedis lets the mistake unsorted-locks reserve a cart. It returns false when it gave up.
func lockInRedis(ctx context.Context, e *Env, s *shelf, cart []string, meet func()) (bool, error) {
	lab, err := e.flaw(ctx, s.dsn, "unsorted-locks", sync.OnceFunc(meet))
	if err != nil {
		return false, err
	}
	lines := make([]inventoryapi.Line, len(cart))
	for i, name := range cart {
		lines[i] = inventoryapi.Line{SKU: name, Quantity: 1}
	}
	waiting, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	_, err = lab.Reserve(waiting, ulid.Make().String(), lines)
	if errors.Is(err, inventoryapi.ErrContended) && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// lockRows locks the rows of a cart in one transaction. It returns false when the server ended it with a deadlock.
func lockRows(ctx context.Context, db *stdsql.DB, cart []string, meet func()) (bool, error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback() //nolint:errcheck // the transaction only reads
	for i, name := range cart {
		var n int64
		err := tx.QueryRowContext(ctx, lockingRead, name).Scan(&n)
		if database.IsRetryable(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if i == 0 {
			meet()
		}
	}
	return true, nil
}
