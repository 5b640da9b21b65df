package strategy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/fault"
)

// reserving returns a call that reserves and keeps its answer.
func (c *batched) reserving(t *testing.T, r stock.Request, got *answer) func() {
	return func() { got.receipt, got.err = c.set.Reserve(t.Context(), r) }
}

type answer struct {
	receipt stock.Receipt
	err     error
}

// TestGroupCommit_OneFlush is first come, first served in one transaction: what fits is sold, what does not is refused
// alone, and one order number is one order.
func TestGroupCommit_OneFlush(t *testing.T) {
	t.Parallel()
	c := newBatched(t)
	c.has(t, "A", 10)
	c.has(t, "B", 3)
	c.has(t, "ELSEWHERE", 10)
	if err := c.one.db.Exec("UPDATE stock SET layout = 'units' WHERE sku = 'ELSEWHERE'").Error; err != nil {
		t.Fatal(err)
	}
	if err := c.set.Release(t.Context(), "BURIED"); err != nil {
		t.Fatal(err)
	}
	orders := []struct {
		r    stock.Request
		want error
	}{
		{order("FIRST", groupCommit, line("B", 2), line("A", 4)), nil},
		{order("ODD", groupCommit, line("A", 1), line("NOTHING", 1)), stock.ErrUnknownSKU},
		{order("MOVED", groupCommit, line("A", 1), line("ELSEWHERE", 1)), stock.ErrWrongLayout},
		{order("LARGE", groupCommit, line("A", 1), line("B", 2)), stock.ErrOutOfStock},
		{order("FIRST", groupCommit, line("A", 4), line("B", 2)), nil},                 // the same in other words
		{order("FIRST", groupCommit, line("A", 4), line("B", 1)), stock.ErrMismatch},   // another
		{order("LARGE", groupCommit, line("A", 1), line("B", 2)), stock.ErrOutOfStock}, // refused again
		{order("LARGE", groupCommit, line("A", 1), line("B", 1)), nil},                 // a refused number is free
		{order("BURIED", groupCommit, line("A", 1)), stock.ErrClosed},
		{order("LAST", groupCommit, line("A", 5)), nil},
		{order("LATE", groupCommit, line("A", 1)), stock.ErrOutOfStock},
	}
	got := make([]answer, len(orders))
	var calls []func()
	for i, o := range orders {
		calls = append(calls, c.reserving(t, o.r, &got[i]))
	}
	c.together(t, "reserve", calls...)
	for i, o := range orders {
		if !errors.Is(got[i].err, o.want) || fault.Ambiguous(got[i].err) {
			t.Errorf("%d, %s: got %v (ambiguous %v), want %v", i, o.r.OrderNo, got[i].err, fault.Ambiguous(got[i].err), o.want)
		}
	}
	if diff := cmp.Diff(got[0].receipt, got[4].receipt); diff != "" {
		t.Errorf("two callers of one order got different receipts:\n%s", diff)
	}
	want := []stock.ShortLine{{SKU: "B", Requested: 2, Available: 1}}
	if diff := cmp.Diff(want, shortLines(got[3].err)); diff != "" {
		t.Errorf("the short lines (-want +got):\n%s", diff)
	}
	c.wantLedger(t, "A", 0, 10, 0)
	c.wantLedger(t, "B", 0, 3, 0)
}

// TestGroupCommit_Statements has twice as many orders cost the same number of statements.
func TestGroupCommit_Statements(t *testing.T) {
	t.Parallel()
	c := newBatched(t)
	c.has(t, "A", 1000)
	c.has(t, "B", 1000)
	count := func(operation string, orders int, run func(string) error) int64 {
		var calls []func()
		for i := range orders {
			calls = append(calls, func() {
				if err := run(fmt.Sprintf("%d-%d", orders, i)); err != nil {
					t.Errorf("%s: %v", operation, err)
				}
			})
		}
		return c.together(t, operation, calls...)
	}
	reserve := func(no string) error {
		_, err := c.set.Reserve(t.Context(), order(no, groupCommit, line("A", 1), line("B", 2)))
		return err
	}
	for operation, run := range map[string]func(string) error{
		"confirm": func(no string) error { return c.set.Confirm(t.Context(), "C-"+no) },
		"release": func(no string) error { return c.set.Release(t.Context(), "R-"+no) },
	} {
		prefix := strings.ToUpper(operation[:1]) + "-"
		few := count("reserve", 10, func(no string) error { return reserve(prefix + no) })
		many := count("reserve", 40, func(no string) error { return reserve(prefix + no) })
		if few != many || few > 10 { // of two flushes, the busy one's last statements included
			t.Errorf("10 reserves took %d statements, 40 took %d", few, many)
		}
		few, many = count(operation, 10, run), count(operation, 40, run)
		if few != many || few > 10 {
			t.Errorf("10 of %s took %d statements, 40 took %d", operation, few, many)
		}
	}
	c.wantLedger(t, "A", 900+50, 0, 50)
	c.wantLedger(t, "B", 800+100, 0, 100)
}

// TestGroupCommit_OddOrderNumbers has order numbers that would end a text in SQL, or be a parameter, go through every
// statement of a flush beside an ordinary one.
func TestGroupCommit_OddOrderNumbers(t *testing.T) {
	t.Parallel()
	c := newBatched(t)
	c.has(t, "A", 100)
	odd := []string{"O'REILLY", `BACK\SLASH`, `\'`, "WHY?", "@NAME", `"QUOTE"`, "x'),(1);DROP/**/stock;--", "PLAIN-1"}
	var calls, repeats, ends, late []func()
	for i, no := range odd {
		reserve := func() {
			got, err := c.set.Reserve(t.Context(), order(no, groupCommit, line("A", 2)))
			if err != nil || got.OrderNo != no {
				t.Errorf("reserve %q: %+v, %v", no, got, err)
			}
		}
		calls, repeats = append(calls, reserve), append(repeats, reserve)
		end := c.set.Confirm
		if i%2 == 1 {
			end = c.set.Release
		}
		ends = append(ends, func() {
			if err := end(t.Context(), no); err != nil {
				t.Errorf("end %q: %v", no, err)
			}
		})
		late = append(late, func() {
			if err := c.set.Release(t.Context(), "?"+no); err != nil {
				t.Errorf("bury %q: %v", no, err)
			}
		})
	}
	for _, round := range [][]func(){calls, repeats, ends, late} {
		var all sync.WaitGroup
		for _, call := range round {
			all.Go(call)
		}
		all.Wait()
	}
	c.wantLedger(t, "A", 92, 0, 8)
	for _, no := range odd {
		if state := c.state(t, "?"+no); state != stock.Void {
			t.Errorf("the tombstone of %q is %q", no, state)
		}
	}
}

// TestGroupCommit_KnownMeanwhile has another instance reserve two orders of a flush after the flush has looked for
// known ones. The insert is refused, and the flush begins again.
func TestGroupCommit_KnownMeanwhile(t *testing.T) {
	t.Parallel()
	c := newBatched(t)
	c.has(t, "A", 10)
	c.has(t, "B", 10)
	other := c.two.set(t)
	var got [3]answer
	c.sent.before("INSERT INTO reservations ", 2, func() {
		// On other rows than the flush has locked, or the two would wait for each other.
		if _, err := other.Reserve(t.Context(), order("SAME", "for-update", line("B", 2))); err != nil {
			t.Errorf("the other instance: %v", err)
		}
		if err := other.Release(t.Context(), "GIVEN-UP"); err != nil {
			t.Errorf("the other instance's tombstone: %v", err)
		}
	})
	c.together(t, "reserve",
		c.reserving(t, order("SAME", groupCommit, line("A", 1)), &got[0]),
		c.reserving(t, order("GIVEN-UP", groupCommit, line("A", 1)), &got[1]),
		c.reserving(t, order("MINE", groupCommit, line("A", 1)), &got[2]))
	for i, want := range []error{stock.ErrMismatch, stock.ErrClosed, nil} {
		if !errors.Is(got[i].err, want) {
			t.Errorf("order %d: got %v, want %v", i, got[i].err, want)
		}
	}
	c.wantLedger(t, "A", 9, 1, 0)
	c.wantLedger(t, "B", 8, 2, 0)
}

// TestGroupCommit_BadData has one order of a flush with counters that do not agree with its lines. Only that one fails.
func TestGroupCommit_BadData(t *testing.T) {
	t.Parallel()
	c := newBatched(t)
	for _, sku := range []string{"A", "BROKEN", "C"} {
		c.has(t, sku, 10)
		if _, err := c.set.Reserve(t.Context(), order("OF-"+sku, groupCommit, line(sku, 2))); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.one.db.Exec("UPDATE stock SET reserved = 1, available = 9 WHERE sku = 'BROKEN'").Error; err != nil {
		t.Fatal(err)
	}
	var errs [5]error
	confirming := func(i int, no string) func() { return func() { errs[i] = c.set.Confirm(t.Context(), no) } }
	c.together(t, "confirm", confirming(0, "OF-A"), confirming(1, "OF-BROKEN"), confirming(2, "UNKNOWN"), confirming(3, "OF-C"), confirming(4, "OF-A"))
	for i, want := range []error{nil, fault.ErrInternal, stock.ErrUnknownOrder, nil, nil} {
		if !errors.Is(errs[i], want) || fault.Ambiguous(errs[i]) {
			t.Errorf("order %d: got %v, want %v", i, errs[i], want)
		}
	}
	if state := c.state(t, "OF-BROKEN"); state != stock.Reserved {
		t.Errorf("the broken order is %s", state)
	}
	for _, sku := range []string{"A", "C"} {
		if e := c.entry(t, sku); e.Available != 8 || e.Sold != 2 {
			t.Errorf("%s: available %d, sold %d", sku, e.Available, e.Sold)
		}
	}
}

// TestGroupCommit_SomeLeave has another session lock the stock row. A caller that cannot wait gets "not executed", and
// the others of the flush are served when the row is free.
func TestGroupCommit_SomeLeave(t *testing.T) {
	t.Parallel()
	c := newBatched(t)
	c.has(t, "A", 10)
	sitting := c.two.db.Begin()
	if err := sitting.Exec("UPDATE stock SET version = version + 1 WHERE sku = 'A'").Error; err != nil {
		sitting.Rollback()
		t.Fatal(err)
	}
	leave, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got [3]answer
	reserve := func(ctx context.Context, i int) func() {
		return func() {
			got[i].receipt, got[i].err = buy(ctx, c.set, order(fmt.Sprintf("ORDER-%d", i), groupCommit, line("A", 1)))
		}
	}
	impatient, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	time.AfterFunc(700*time.Millisecond, cancel)
	var freed sync.WaitGroup
	freed.Go(func() {
		<-leave.Done()
		<-impatient.Done()
		sitting.Rollback()
	})
	defer freed.Wait()
	c.together(t, "reserve", reserve(t.Context(), 0), reserve(impatient, 1), reserve(leave, 2))
	if got[0].err != nil {
		t.Errorf("who waited: %v", got[0].err)
	}
	if !errors.Is(got[1].err, stock.ErrContended) || fault.Ambiguous(got[1].err) {
		t.Errorf("whose time ran out: %v, want contended", got[1].err)
	}
	if !errors.Is(got[2].err, fault.ErrCanceled) || fault.Ambiguous(got[2].err) {
		t.Errorf("who left: %v, want cancelled and not executed", got[2].err)
	}
	c.wantLedger(t, "A", 9, 1, 0)
}

// TestGroupCommit_LostCommit loses a COMMIT, or the answer to it. The next attempt learns from the ledger which it was,
// and every caller gets the true answer.
func TestGroupCommit_LostCommit(t *testing.T) {
	t.Parallel()
	for name, arrives := range map[string]bool{"its answer": true, "itself": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var wire wire
			wire.arrives.Store(arrives)
			c := batchedOn(t, w, wire.open(t, w.dsn))
			c.has(t, "A", 3)
			var got [3]answer
			calls := []func(){
				c.reserving(t, order("ONE", groupCommit, line("A", 1)), &got[0]),
				c.reserving(t, order("LARGE", groupCommit, line("A", 3)), &got[1]),
				c.reserving(t, order("TWO", groupCommit, line("A", 1)), &got[2]),
			}
			c.sent.before("UPDATE stock FORCE", 2, func() { wire.lose.Store(true) })
			c.together(t, "reserve", calls...)
			for i, want := range []error{nil, stock.ErrOutOfStock, nil} {
				if !errors.Is(got[i].err, want) || fault.Ambiguous(got[i].err) {
					t.Errorf("order %d: got %v, want %v", i, got[i].err, want)
				}
			}
			if wire.lose.Load() {
				t.Error("no COMMIT was lost: this run has shown nothing")
			}
			c.wantLedger(t, "A", 1, 2, 0)
			for _, op := range []func(context.Context, string) error{c.set.Confirm, c.set.Confirm} {
				wire.lose.Store(true)
				if err := op(t.Context(), "ONE"); err != nil {
					t.Errorf("confirm: %v", err)
				}
				wire.lose.Store(false)
			}
			c.wantLedger(t, "A", 1, 1, 1)
		})
	}
}

// TestGroupCommit_UnknownCommit loses the answer to a COMMIT and the database with it. The callers get an ambiguous
// fault, and a retry returns the outcome.
func TestGroupCommit_UnknownCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var wire wire
	wire.arrives.Store(true)
	c := batchedOn(t, w, wire.open(t, w.dsn))
	c.has(t, "A", 3)
	c.sent.before("UPDATE stock FORCE", 1, func() {
		wire.lose.Store(true)
		wire.refuse.Store(true)
	})
	_, err := c.set.Reserve(t.Context(), order("ONE", groupCommit, line("A", 1)))
	if !fault.Ambiguous(err) {
		t.Errorf("got %v, want an ambiguous fault", err)
	}
	c.sent.each(nil)
	wire.refuse.Store(false)
	if _, err := c.set.Reserve(t.Context(), order("ONE", groupCommit, line("A", 1))); err != nil {
		t.Errorf("the repeat: %v", err)
	}
	c.wantLedger(t, "A", 2, 1, 0)
}

// TestGroupCommit_Panic has a flush panic: its callers get an internal fault, and the next are
// served.
func TestGroupCommit_Panic(t *testing.T) {
	t.Parallel()
	c := newBatched(t)
	c.has(t, "A", 10)
	c.sent.each(func(string) { panic("a bug") })
	if _, err := c.set.Reserve(t.Context(), order("ONE", groupCommit, line("A", 1))); fault.KindOf(err) != fault.Internal {
		t.Errorf("got %v, want an internal fault", err)
	}
	c.sent.each(nil)
	if _, err := c.set.Reserve(t.Context(), order("TWO", groupCommit, line("A", 1))); err != nil {
		t.Errorf("the next: %v", err)
	}
	c.wantLedger(t, "A", 9, 1, 0)
}

// TestGroupCommit_OrdersOfOthers has the default strategy end orders that another one reserved: by that one.
func TestGroupCommit_OrdersOfOthers(t *testing.T) {
	t.Parallel()
	c := newBatched(t)
	c.has(t, "A", 10)
	ctx := soon(t)
	other := c.two.set(t)
	for _, no := range []string{"SOLD", "BACK"} {
		if _, err := other.Reserve(ctx, order(no, "for-update", line("A", 2))); err != nil {
			t.Fatal(err)
		}
	}
	var locked atomic.Int64 // for-update reads one header under a lock, by its number
	c.sent.each(func(statement string) {
		if strings.HasSuffix(statement, "WHERE order_no = ? FOR UPDATE") {
			locked.Add(1)
		}
	})
	if err := errors.Join(c.set.Confirm(ctx, "SOLD"), c.set.Release(ctx, "BACK")); err != nil {
		t.Error(err)
	}
	if locked.Load() != 2 {
		t.Errorf("for-update ended %d orders, want 2", locked.Load())
	}
	c.wantLedger(t, "A", 8, 0, 2)
}

// TestGroupCommit_Closed refuses what comes after the end.
func TestGroupCommit_Closed(t *testing.T) {
	t.Parallel()
	c := newBatched(t)
	c.has(t, "A", 10)
	if err := c.set.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := c.set.Reserve(t.Context(), order("ONE", groupCommit, line("A", 1)))
	for _, err := range []error{err, c.set.Confirm(t.Context(), "ONE"), c.set.Release(t.Context(), "ONE")} {
		if fault.KindOf(err) != fault.Unavailable || fault.Ambiguous(err) {
			t.Errorf("got %v, want unavailable and not executed", err)
		}
	}
}
