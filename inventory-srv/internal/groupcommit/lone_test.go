package groupcommit_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/pkg/fault"
)

// lone reserves units of A for an order that is alone, and returns how many statements that took.
func (w *world) lone(t *testing.T, no string, quantity int64) (stock.Receipt, int64, error) {
	t.Helper()
	before := w.sent.Count()
	receipt, err := w.set.Reserve(t.Context(), order(no, line("A", quantity)))
	return receipt, w.sent.Count() - before, err
}

// TestReserver_Lone has an order that is alone sold by what an earlier one has read, and sold or refused by what is
// true when that has changed. The repetitions come last: after one of them orders are read before they are written.
func TestReserver_Lone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.has(t, "A", 10)
	exec := func(query string) {
		t.Helper()
		if err := w.beside.Exec(query).Error; err != nil {
			t.Fatal(err)
		}
	}
	sold := func(no, title string, price int64) stock.Receipt {
		t.Helper()
		got, _, err := w.lone(t, no, 1)
		want := stock.Receipt{OrderNo: no, Strategy: "group-commit", Lines: []stock.ReceiptLine{{SKU: "A", Title: title, Quantity: 1, UnitPriceCents: price}}}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("order %s: %v (-want +got)\n%s", no, err, diff)
		}
		return want
	}
	receipts := []stock.Receipt{sold("READS", "Title of A", 250), sold("SAME", "Title of A", 250)}
	exec("UPDATE products SET price_cents = 300 WHERE sku = 'A'")
	receipts = append(receipts, sold("DEARER", "Title of A", 300))
	exec("UPDATE products SET title = 'TITLE OF A' WHERE sku = 'A'") // equal by the column's collation
	receipts = append(receipts, sold("RENAMED", "TITLE OF A", 300))
	exec("UPDATE products SET title = 'TITLE OF A ' WHERE sku = 'A'")
	receipts = append(receipts, sold("SPACE", "TITLE OF A ", 300))

	if _, err := w.another(t).Reserve(t.Context(), order("ELSEWHERE", line("A", 4))); err != nil {
		t.Fatal(err)
	}
	_, _, err := w.lone(t, "LATE", 2)
	if diff := cmp.Diff([]stock.ShortLine{{SKU: "A", Requested: 2, Available: 1}}, stocktest.ShortLines(err)); diff != "" {
		t.Errorf("the other replica has sold the rest: %v (-want +got)\n%s", err, diff)
	}
	w.wantLedger(t, "A", 1, 9, 0)
	exec("UPDATE stock SET layout = 'units' WHERE sku = 'A'")
	if _, _, err := w.lone(t, "MOVED", 1); !errors.Is(err, stock.ErrWrongLayout) {
		t.Errorf("a row of another layout: got %v, want a refusal", err)
	}
	exec("UPDATE stock SET layout = 'row' WHERE sku = 'A'")
	w.wantLedger(t, "A", 1, 9, 0)
	w.wantRepeated(t, receipts, "TITLE OF A ")
}

// wantRepeated fails unless the orders of these receipts get them again, with the title that the catalogue has now, and
// unless an order that is not the same, or was released, is refused.
func (w *world) wantRepeated(t *testing.T, receipts []stock.Receipt, title string) {
	t.Helper()
	for _, want := range receipts {
		want.Lines[0].Title = title
		again, _, err := w.lone(t, want.OrderNo, 1)
		if diff := cmp.Diff(want, again); err != nil || diff != "" {
			t.Errorf("order %s repeated: %v (-want +got)\n%s", want.OrderNo, err, diff)
		}
	}
	no := receipts[0].OrderNo
	if _, _, err := w.lone(t, no, 2); !errors.Is(err, stock.ErrMismatch) {
		t.Errorf("another quantity: got %v, want a mismatch", err)
	}
	if err := w.set.Release(t.Context(), no); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.lone(t, no, 1); !errors.Is(err, stock.ErrClosed) {
		t.Errorf("a released order: got %v, want closed", err)
	}
}

// TestReserver_Lone_statements has a lone order for a SKU that was read before take one statement less, and one for a
// SKU that is sold out no more than before.
func TestReserver_Lone_statements(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.has(t, "A", 3)
	for i, want := range []int64{3, 2, 2} {
		if _, got, err := w.lone(t, fmt.Sprintf("N-%d", i), 1); err != nil || got != want {
			t.Errorf("order %d: %v, %d statements, want %d", i, err, got, want)
		}
	}
	for i := range 3 {
		_, got, err := w.lone(t, fmt.Sprintf("LATE-%d", i), 1)
		if want := int64(2); !errors.Is(err, stock.ErrOutOfStock) || got != want { // the row, and whether the order is known
			t.Errorf("sold out: %v, %d statements, want %d", err, got, want)
		}
	}
	if err := w.set.Release(t.Context(), "N-0"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{nil, stock.ErrOutOfStock} {
		if _, _, err := w.lone(t, fmt.Sprintf("AGAIN-%d", i), 1); !errors.Is(err, want) {
			t.Errorf("after the release of one unit, order %d: got %v, want %v", i, err, want)
		}
	}
	w.wantLedger(t, "A", 0, 3, 0)
}

// TestReserver_Lone_lockedSKU has the order of a lone flush wait for a locked row as any other does, and no later.
func TestReserver_Lone_lockedSKU(t *testing.T) {
	t.Parallel()
	w, ranOut := newAsideWorld(t)
	w.has(t, "A", 10)
	w.has(t, "B", 10)
	if _, _, err := w.lone(t, "FIRST", 1); err != nil {
		t.Fatal(err)
	}
	free := w.hold(t, holdStock, "A")
	_, _, err := w.lone(t, "WAITS", 1)
	wantContended(t, "the lone order for A", err)
	_, _, err = w.lone(t, "WAITS", 1)
	wantContended(t, "the lone order for A, repeated", err)
	if n := ranOut.Load(); n != 1 {
		t.Errorf("%d lock waits ran out, want the first flush's", n)
	}
	_, err = w.set.Reserve(t.Context(), order("OTHER", line("B", 1)))
	wantServed(t, "the order for B", err)
	free()
	eventually(t, "A sells again", func() bool {
		_, _, err := w.lone(t, "WAITS", 1)
		return err == nil
	})
	w.wantLedger(t, "A", 8, 2, 0)
	w.wantLedger(t, "B", 9, 1, 0)
}

// TestReserver_Lone_lostCommit loses the COMMIT of a lone order, or the answer to it.
func TestReserver_Lone_lostCommit(t *testing.T) {
	t.Parallel()
	eachLoss(t, func(t *testing.T, wire *wire, w *world) {
		if _, _, err := w.lone(t, "FIRST", 1); err != nil {
			t.Fatal(err)
		}
		wire.lose.Store(true)
		if _, _, err := w.lone(t, "SECOND", 1); err != nil || fault.Ambiguous(err) {
			t.Errorf("got %v, want the receipt", err)
		}
		if wire.lose.Load() {
			t.Error("no COMMIT was lost: this run has shown nothing")
		}
		w.wantLedger(t, "A", 1, 2, 0)
	})
}
