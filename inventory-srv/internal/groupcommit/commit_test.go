package groupcommit_test

import (
	"context"
	"errors"
	"testing"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
)

// TestReserver_LostCommit loses a COMMIT, or the answer to it. The next attempt learns from the ledger which it was,
// and every caller gets the true answer.
func TestReserver_LostCommit(t *testing.T) {
	t.Parallel()
	eachLoss(t, func(t *testing.T, wire *wire, w *world) {
		var got [3]answer
		calls := []func(){
			w.reserving(t, order("ONE", line("A", 1)), &got[0]),
			w.reserving(t, order("LARGE", line("A", 3)), &got[1]),
			w.reserving(t, order("TWO", line("A", 1)), &got[2]),
		}
		w.sent.Before("UPDATE stock FORCE", 2, func() { wire.lose.Store(true) })
		w.together(t, "reserve", calls...)
		for i, want := range []error{nil, stock.ErrOutOfStock, nil} {
			if !errors.Is(got[i].err, want) || fault.Ambiguous(got[i].err) {
				t.Errorf("order %d: got %v, want %v", i, got[i].err, want)
			}
		}
		if wire.lose.Load() {
			t.Error("no COMMIT was lost: this run has shown nothing")
		}
		w.wantLedger(t, "A", 1, 2, 0)
		for _, op := range []func(context.Context, string) error{w.set.Confirm, w.set.Confirm} {
			wire.lose.Store(true)
			if err := op(t.Context(), "ONE"); err != nil {
				t.Errorf("confirm: %v", err)
			}
			wire.lose.Store(false)
		}
		w.wantLedger(t, "A", 1, 1, 1)
	})
}

// TestReserver_UnknownCommit loses the answer to a COMMIT and the database with it. The callers get an ambiguous
// fault, and a retry returns the outcome.
func TestReserver_UnknownCommit(t *testing.T) {
	t.Parallel()
	var wire wire
	wire.arrives.Store(true)
	w := wire.world(t, database.Options{MaxOpen: 32})
	w.has(t, "A", 3)
	w.sent.Before("UPDATE stock FORCE", 1, func() {
		wire.lose.Store(true)
		wire.refuse.Store(true)
	})
	_, err := w.set.Reserve(t.Context(), order("ONE", line("A", 1)))
	if !fault.Ambiguous(err) {
		t.Errorf("got %v, want an ambiguous fault", err)
	}
	w.sent.Each(nil)
	wire.refuse.Store(false)
	if _, err := w.set.Reserve(t.Context(), order("ONE", line("A", 1))); err != nil {
		t.Errorf("the repeat: %v", err)
	}
	w.wantLedger(t, "A", 2, 1, 0)
}
