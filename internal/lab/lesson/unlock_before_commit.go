package lesson

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/lock"
)

func unlockBeforeCommit() Lesson {
	return Lesson{
		Name:  "unlock-before-commit",
		Title: "the next buyer reads before your commit",
		Run:   runUnlockBeforeCommit,
	}
}

func runUnlockBeforeCommit(ctx context.Context, e *Env) error {
	s, err := e.shelf(ctx)
	if err != nil {
		return err
	}
	locker, err := e.locker(ctx, e.Key("locks:"))
	if err != nil {
		return err
	}
	if err := unlockByHand(ctx, e, s, locker); err != nil {
		return err
	}

	flaw, err := e.flaw(ctx, s.dsn, "unlock-before-commit", nil)
	if err != nil {
		return err
	}
	cfg, err := e.redisLab(ctx, s.dsn, "redis-lock")
	if err != nil {
		return err
	}
	cure, err := e.open(ctx, cfg)
	if err != nil {
		return err
	}
	const workers, each = 8, 25
	e.Step("As a race: %d workers sell %d each from a stock of %d; first unlock, then the order's row and COMMIT.", workers, each, workers*each)
	early, err := sellAll(ctx, flaw, "EARLY", workers, each)
	if err != nil {
		return err
	}
	e.Step("The same, first the order's row and COMMIT, then unlock.")
	late, err := sellAll(ctx, cure, "LATE", workers, each)
	if err != nil {
		return err
	}
	e.Table(
		[]any{"", "sold", "stock went down by", "lost updates"},
		[]any{"unlock, COMMIT", early.accepted, early.gone, early.lost()},
		[]any{"COMMIT, unlock", late.accepted, late.gone, late.lost()},
	)
	e.Check(early.lost() > 0, "unlocked before the commit: %d of %d updates are lost", early.lost(), early.accepted)
	e.Check(late.lost() == 0 && late.accepted == workers*each, "unlocked after the commit: no update is lost")
	return nil
}

// unlockByHand executes the interleaving statement by statement.
func unlockByHand(ctx context.Context, e *Env, s *shelf, locker *lock.Redis) error {
	e.Step("By hand: a stock of 10, two sellers, one unit each. A unlocks before it commits.")
	if err := s.fill(ctx, 10); err != nil {
		return err
	}
	a, err := beginSale(ctx, s, locker)
	if err != nil {
		return err
	}
	e.Show("A: lock, BEGIN, SELECT available -> %d, UPDATE SET available = %d", a.read, a.read-1)
	if err := a.lease.Release(ctx); err != nil {
		return err
	}
	e.Show("A: unlock")
	// B's UPDATE waits for A's row lock, but B has already read, and it writes what it read.
	b := &sale{}
	if b.lease, err = locker.Acquire(ctx, sku); err != nil {
		return err
	}
	if b.tx, err = s.db.BeginTx(ctx, nil); err != nil {
		return err
	}
	if b.read, err = readStock(ctx, b.tx); err != nil {
		return err
	}
	e.Show("B: lock, BEGIN, SELECT available -> %d: A's update is not committed yet", b.read)
	if err := a.tx.Commit(); err != nil {
		return err
	}
	e.Show("A: COMMIT")
	if err := writeStock(ctx, b.tx, b.read-1); err != nil {
		return err
	}
	if err := errors.Join(b.tx.Commit(), b.lease.Release(ctx)); err != nil {
		return err
	}
	e.Show("B: UPDATE SET available = %d, COMMIT, unlock", b.read-1)
	left, err := s.left(ctx)
	e.Check(err == nil && left == 9, "two units are sold, and %d of 10 are left", left)
	return err
}

// sale is an open transaction of one seller.
type sale struct {
	lease *lock.Lease
	tx    *stdsql.Tx
	read  int64
}

// beginSale locks, reads and writes. The caller ends the sale.
func beginSale(ctx context.Context, s *shelf, locker *lock.Redis) (_ *sale, err error) {
	one := &sale{}
	if one.lease, err = locker.Acquire(ctx, sku); err != nil {
		return nil, err
	}
	if one.tx, err = s.db.BeginTx(ctx, nil); err != nil {
		return nil, errors.Join(err, one.lease.Release(ctx))
	}
	if one.read, err = readStock(ctx, one.tx); err == nil {
		err = writeStock(ctx, one.tx, one.read-1)
	}
	if err != nil {
		return nil, errors.Join(err, one.tx.Rollback(), one.lease.Release(ctx))
	}
	return one, nil
}

// sellAll lets workers sell one unit at a time until each has sold its share.
func sellAll(ctx context.Context, lab *inventorylab.Lab, sku string, workers, each int) (sales, error) {
	if err := lab.Stock(ctx, sku, int64(workers*each), "first-"+sku); err != nil {
		return sales{}, err
	}
	var accepted atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			for i := range each {
				ok, err := buyOne(gctx, lab, sku, fmt.Sprintf("%s-%d-%d", sku, w, i))
				if err != nil {
					return err
				}
				if ok {
					accepted.Add(1)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return sales{}, err
	}
	entry, err := ledgerOf(ctx, lab, sku)
	return sales{accepted: accepted.Load(), gone: entry.Inbound - entry.Available}, err
}
