package strategy_test

import (
	"context"
	gosql "database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/strategy"
)

const nameOfLock = "SHA2(CONCAT(DATABASE(), '/stock/', ?), 256)"

func realMySQLLock(t *testing.T, i replicatest.Instance) replicatest.Reserver {
	return named(t, "mysql-lock", i)
}

// trustingMySQLLock trusts the named lock: it reads and writes without a guard, as it could if a lock always outlived
// the transaction that it is for.
type trustingMySQLLock struct{ replicatest.Instance }

func (s trustingMySQLLock) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	conn, err := s.LockPool.Conn(ctx)
	if err != nil {
		return stock.Receipt{}, err
	}
	defer func() { _ = conn.Close() }()
	var got bool
	if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK("+nameOfLock+", 60)", r.Lines[0].SKU).Scan(&got); err != nil || !got {
		return stock.Receipt{}, fmt.Errorf("get the lock: %v, %w", got, err)
	}
	defer func() { _, _ = conn.ExecContext(ctx, "DO RELEASE_ALL_LOCKS()") }()
	return s.Store.Ledger().Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		return readAndOverwrite(tx, lines[0])
	})
}

// disconnected has the server end the connection that holds the SKU's lock. The holder cannot know: its transaction has
// another connection.
func disconnected() loss {
	return loss{happens: func(t *testing.T, w *replicatest.World, sku string) {
		t.Helper()
		id, held := lockedBy(t, w, sku)
		if !held {
			t.Fatal("no connection holds the lock")
		}
		if !w.Killer(t).End(t.Context(), id) {
			t.Fatal("the connection was not killed")
		}
		replicatest.Eventually(t, "the lock of the killed connection is free", func() bool {
			by, held := lockedBy(t, w, sku)
			return !held || by != id
		})
	}}
}

// lockedBy returns the connection that holds the SKU's lock.
func lockedBy(t *testing.T, w *replicatest.World, sku string) (id int64, held bool) {
	t.Helper()
	var found gosql.NullInt64
	if err := w.Two.LockPool.QueryRowContext(replicatest.Soon(t), "SELECT IS_USED_LOCK("+nameOfLock+")", sku).Scan(&found); err != nil {
		t.Fatalf("find the holder of %s: %v", sku, err)
	}
	return found.Int64, found.Valid
}

// TestMySQLLock_Disconnected: the server frees a named lock when its connection ends, and two holders work at once. An
// order that trusts the lock loses the other's sale. The strategy loses none: the condition in its UPDATE decides.
func TestMySQLLock_Disconnected(t *testing.T) {
	t.Parallel()
	t.Run("the strategy", func(t *testing.T) {
		t.Parallel()
		got := stallHolder(t, disconnected(), realMySQLLock, replicatest.BeforeWrite)
		if got.faults != nil || got.tries != 1 {
			t.Errorf("the ledger: %v; the holder tried %d times; want none and 1", got.faults, got.tries)
		}
		if lost := counter(t, got.world.One.Registry, "stock_mysql_lock_lost_total"); lost != 1 {
			t.Errorf("%v lost locks were counted, want 1", lost)
		}
	})
	t.Run("trusting the lock", func(t *testing.T) {
		t.Parallel()
		trusting := func(_ *testing.T, i replicatest.Instance) replicatest.Reserver { return trustingMySQLLock{i} }
		if got := stallHolder(t, disconnected(), trusting, replicatest.BeforeWrite); got.faults == nil {
			t.Error("no sale was lost: the guarded UPDATE of the strategy would guard against nothing")
		}
	})
}

// TestMySQLLock_Pool: with a single connection for locks orders wait for it, and none waits forever: the holder's
// transaction has a connection of another pool. What ends, in whatever way, leaves no lock on it.
func TestMySQLLock_Pool(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	w.Has(t, "A", 20)
	w.One.LockPool.SetMaxOpenConns(1)
	s := named(t, "mysql-lock", w.One)
	ctx := replicatest.Soon(t)
	replicatest.AtOnce(20, func(i int) {
		if _, err := s.Reserve(ctx, replicatest.Order(fmt.Sprintf("ORDER-%d", i), "mysql-lock", replicatest.Line("A", 1))); err != nil {
			t.Errorf("order %d: %v", i, err)
		}
	})
	if _, err := s.Reserve(ctx, replicatest.Order("TOO-LATE", "mysql-lock", replicatest.Line("A", 1))); !errors.Is(err, stock.ErrOutOfStock) {
		t.Errorf("sold out: got %v, want out of stock", err)
	}
	var locks int
	if err := w.One.LockPool.QueryRowContext(ctx, "SELECT RELEASE_ALL_LOCKS()").Scan(&locks); err != nil || locks != 0 {
		t.Errorf("the connection was returned with %d locks, %v", locks, err)
	}
	if lost := counter(t, w.One.Registry, "stock_mysql_lock_lost_total"); lost != 0 {
		t.Errorf("%v lost locks were counted, want 0", lost)
	}
	w.WantLedger(t, "A", 0, 20, 0)
}

// TestMySQLLock_Waits: an order whose deadline passes while another one holds a lock is contended, and leaves neither a
// lock nor a pinned connection.
func TestMySQLLock_Waits(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	w.Has(t, "A", 10)
	w.Has(t, "B", 10)
	stopped := replicatest.StallAt(t, w.One, replicatest.BeforeWrite)
	holding := replicatest.GoReserve(replicatest.Soon(t), named(t, "mysql-lock", w.One), replicatest.Order("HOLDER", "mysql-lock", replicatest.Line("B", 1)))
	stopped.Await(t, holding)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := named(t, "mysql-lock", w.Two).Reserve(ctx, replicatest.Order("WAITER", "mysql-lock", replicatest.Line("A", 1), replicatest.Line("B", 1)))
	if !errors.Is(err, stock.ErrContended) {
		t.Errorf("the waiter: got %v, want contended", err)
	}
	if n := w.Two.LockPool.Stats().InUse; n != 0 {
		t.Errorf("%d connections are pinned after the wait", n)
	}
	replicatest.Eventually(t, "the waiter's lock on A is free", func() bool {
		_, held := lockedBy(t, w, "A")
		return !held
	})
	close(stopped.Resume)
	if err := <-holding; err != nil {
		t.Errorf("the holder: %v", err)
	}
	w.WantLedger(t, "A", 10, 0, 0)
	w.WantLedger(t, "B", 9, 1, 0)
}

// TestMySQLLock_Databases: two shops on one server do not wait for each other.
func TestMySQLLock_Databases(t *testing.T) {
	t.Parallel()
	w, other := replicatest.NewWorld(t), replicatest.NewWorld(t)
	w.Has(t, "A", 10)
	other.Has(t, "A", 10)
	stopped := replicatest.StallAt(t, w.One, replicatest.BeforeWrite)
	holding := replicatest.GoReserve(replicatest.Soon(t), named(t, "mysql-lock", w.One), replicatest.Order("HOLDER", "mysql-lock", replicatest.Line("A", 1)))
	stopped.Await(t, holding)
	if _, err := named(t, "mysql-lock", other.One).Reserve(replicatest.Soon(t), replicatest.Order("ORDER", "mysql-lock", replicatest.Line("A", 1))); err != nil {
		t.Errorf("in the other database: %v", err)
	}
	close(stopped.Resume)
	if err := <-holding; err != nil {
		t.Errorf("the holder: %v", err)
	}
}

var _ replicatest.Reserver = (*strategy.MySQLLock)(nil)
