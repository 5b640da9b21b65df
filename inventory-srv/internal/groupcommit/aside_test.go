package groupcommit_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
)

// newAsideWorld is a world whose sessions wait one second for a lock, which is the least that the server can. It also
// returns the number of lock waits that timed out.
func newAsideWorld(t *testing.T) (*world, *atomic.Int64) {
	t.Helper()
	wire := new(wire)
	return wire.world(t, database.Options{MaxOpen: 32, LockWait: time.Second}), &wire.lockWaits
}

// hold runs a statement in a transaction of another session, which keeps its locks until the returned function is
// called.
func (w *world) hold(t *testing.T, statement string, args ...any) (release func()) {
	t.Helper()
	tx := w.beside.Begin()
	if err := tx.Exec(statement, args...).Error; err != nil {
		tx.Rollback()
		t.Fatal(err)
	}
	free := func() { tx.Rollback() }
	t.Cleanup(free)
	return free
}

const holdStock = "UPDATE stock SET version = version + 1 WHERE sku = ?"

// wantServed is for the answers of orders that need no row that another session has locked.
func wantServed(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: got %v, want it served while the row of another order is locked", what, err)
	}
}

// wantContended is for the answers of orders that need a locked row.
func wantContended(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, stock.ErrContended) || fault.Ambiguous(err) {
		t.Errorf("%s: got %v (ambiguous %v), want contended and not executed", what, err, fault.Ambiguous(err))
	}
}

// TestReserver_LockedSKU has another session keep one stock row locked. Orders for other rows are served, in the
// flush that meets the lock and in later ones, which do not wait for it again. When the row is free its orders are
// served.
func TestReserver_LockedSKU(t *testing.T) {
	t.Parallel()
	w, ranOut := newAsideWorld(t)
	for _, sku := range []string{"A", "B", "C"} {
		w.has(t, sku, 100)
	}
	free := w.hold(t, holdStock, "B")
	var got [4]answer
	w.together(t, "reserve",
		w.reserving(t, order("ONE", line("A", 1)), &got[0]),
		w.reserving(t, order("TWO", line("B", 1)), &got[1]),
		w.reserving(t, order("THREE", line("A", 1), line("B", 1), line("C", 1)), &got[2]),
		w.reserving(t, order("FOUR", line("C", 100)), &got[3]))
	wantServed(t, "the order for A", got[0].err)
	wantContended(t, "the order for B", got[1].err)
	wantContended(t, "the order for A, B and C", got[2].err)
	wantServed(t, "the order for all of C", got[3].err)

	before := ranOut.Load()
	waits := make(chan error, 1)
	go func() {
		_, err := stocktest.Buy(t.Context(), w.set, order("FIVE", line("B", 1)))
		waits <- err
	}()
	for i := range 20 {
		_, err := w.set.Reserve(t.Context(), order(fmt.Sprintf("MORE-%d", i), line("A", 1)))
		wantServed(t, "a later order for A", err)
	}
	if n := ranOut.Load() - before; n != 0 {
		t.Errorf("%d lock waits ran out after the locked row was found, want none", n)
	}
	free()
	if err := <-waits; err != nil && !errors.Is(err, stock.ErrContended) {
		t.Errorf("the order that waited for B: %v", err)
	}
	eventually(t, "B sells again", func() bool {
		_, err := w.set.Reserve(t.Context(), order("FIVE", line("B", 1)))
		return err == nil
	})
	flushes := w.flushes(t, "reserve_aside")
	if _, err := w.set.Reserve(t.Context(), order("SIX", line("B", 1))); err != nil {
		t.Errorf("an order for B after that: %v", err)
	}
	if n := w.flushes(t, "reserve_aside") - flushes; n != 0 {
		t.Errorf("B sells and its order was set aside")
	}
	w.wantLedger(t, "A", 79, 21, 0)
	w.wantLedger(t, "B", 98, 2, 0)
	w.wantLedger(t, "C", 0, 100, 0)
}

// TestReserver_LockedSKU_waits frees the row while its order waits: the order is served and not answered contended.
func TestReserver_LockedSKU_waits(t *testing.T) {
	t.Parallel()
	w, ranOut := newAsideWorld(t)
	w.has(t, "A", 10)
	free := w.hold(t, holdStock, "A")
	served := make(chan error, 1)
	go func() {
		_, err := w.set.Reserve(t.Context(), order("ONE", line("A", 1)))
		served <- err
	}()
	eventually(t, "the order's flush has met the lock", func() bool { return ranOut.Load() > 0 })
	free()
	if err := <-served; err != nil {
		t.Errorf("got %v, want it served", err)
	}
	w.wantLedger(t, "A", 9, 1, 0)
}

// TestReserver_LockedSKU_ends has orders end whose row is locked, beside others.
func TestReserver_LockedSKU_ends(t *testing.T) {
	t.Parallel()
	for _, operation := range []string{"confirm", "release"} {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			w, ranOut := newAsideWorld(t)
			w.has(t, "A", 10)
			w.has(t, "B", 10)
			for i, sku := range []string{"A", "B", "A", "A"} {
				if _, err := w.set.Reserve(t.Context(), order(fmt.Sprintf("ORDER-%d", i), line(sku, 1))); err != nil {
					t.Fatal(err)
				}
			}
			end := map[string]func(context.Context, string) error{"confirm": w.set.Confirm, "release": w.set.Release}[operation]
			free := w.hold(t, holdStock, "B")
			var errs [3]error
			calls := make([]func(), 3)
			for i := range calls {
				calls[i] = func() { errs[i] = end(t.Context(), fmt.Sprintf("ORDER-%d", i)) }
			}
			w.together(t, operation, calls...)
			wantServed(t, "the order of A", errs[0])
			wantContended(t, "the order of B", errs[1])
			wantServed(t, "the other order of A", errs[2])
			before := ranOut.Load()
			wantServed(t, "a later order of A", end(t.Context(), "ORDER-3"))
			if n := ranOut.Load() - before; n != 0 {
				t.Errorf("%d lock waits ran out after the locked row was found, want none", n)
			}
			free()
			eventually(t, "the order of B ends", func() bool { return end(t.Context(), "ORDER-1") == nil })
			if operation == "confirm" {
				w.wantLedger(t, "A", 7, 0, 3)
				w.wantLedger(t, "B", 9, 0, 1)
				return
			}
			w.wantLedger(t, "A", 10, 0, 0)
			w.wantLedger(t, "B", 10, 0, 0)
		})
	}
}

// TestReserver_LockedOrder has another session hold the header of an order: one that it has locked, and one that it
// has inserted and not committed. The orders beside it are served.
func TestReserver_LockedOrder(t *testing.T) {
	t.Parallel()
	const insert = "INSERT INTO reservations (order_no, status, request_hash, strategy) VALUES ('HELD', 'void', '', '')"
	const update = "UPDATE reservations SET updated_at = UTC_TIMESTAMP(6) WHERE order_no = 'HELD'"
	for name, hold := range map[string]struct{ operation, statement string }{
		"reserve an inserted one": {"reserve", insert},
		"confirm a locked one":    {"confirm", update},
		"release a locked one":    {"release", update},
		"release an inserted one": {"release", insert},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, ranOut := newAsideWorld(t)
			w.has(t, "A", 10)
			run := func(no string) error {
				switch hold.operation {
				case "confirm":
					return w.set.Confirm(t.Context(), no)
				case "release":
					return w.set.Release(t.Context(), no)
				}
				_, err := w.set.Reserve(t.Context(), order(no, line("A", 1)))
				return err
			}
			if hold.operation != "reserve" {
				orders := []string{"BESIDE", "LATER"}
				if hold.statement == update {
					orders = append(orders, "HELD")
				}
				for _, no := range orders {
					if _, err := w.set.Reserve(t.Context(), order(no, line("A", 1))); err != nil {
						t.Fatal(err)
					}
				}
			}
			free := w.hold(t, hold.statement)
			var errs [2]error
			w.together(t, hold.operation, func() { errs[0] = run("HELD") }, func() { errs[1] = run("BESIDE") })
			wantContended(t, "the held order", errs[0])
			wantServed(t, "the order beside it", errs[1])
			before := ranOut.Load()
			wantServed(t, "a later order", run("LATER"))
			wantContended(t, "the held order once more", run("HELD"))
			if n := ranOut.Load() - before; n != 0 {
				t.Errorf("%d lock waits ran out after the locked row was found, want none", n)
			}
			free()
			eventually(t, "the held order is served", func() bool { return run("HELD") == nil })
		})
	}
}

// TestReserver_TableGone has a flush meet a fault that is no order's own: it costs one transaction, not one for each
// half of the batch.
func TestReserver_TableGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.has(t, "A", 1000)
	const orders = 64
	var calls []func()
	var errs [orders]error
	for i := range orders {
		calls = append(calls, func() {
			_, errs[i] = w.set.Reserve(t.Context(), order(fmt.Sprintf("ORDER-%d", i), line("A", 1)))
		})
	}
	w.sent.Before("INSERT INTO reservations", 2, func() { // of the flush that together keeps busy comes the first
		if err := w.beside.Exec("RENAME TABLE reservations TO moved").Error; err != nil {
			t.Errorf("rename: %v", err)
		}
	})
	sent := w.together(t, "reserve", calls...)
	for i, err := range errs {
		if !errors.Is(err, fault.ErrInternal) || fault.Ambiguous(err) {
			t.Errorf("order %d: got %v (ambiguous %v), want internal and not executed", i, err, fault.Ambiguous(err))
		}
	}
	if sent > 12 {
		t.Errorf("%d orders took %d statements to fail, want those of one transaction", orders, sent)
	}
	w.sent.Each(nil)
	if err := w.beside.Exec("RENAME TABLE moved TO reservations").Error; err != nil {
		t.Fatal(err)
	}
	if _, err := w.set.Reserve(t.Context(), order("ORDER-0", line("A", 1))); err != nil {
		t.Errorf("the same order when the table is back: %v", err)
	}
	w.wantLedger(t, "A", 999, 1, 0)
}
