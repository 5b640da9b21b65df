package groupcommit_test

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
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/pkg/fault"
)

// TestReserver_OneFlush is first come, first served in one transaction: what fits is sold, what does not is refused
// alone, and one order number is one order.
func TestReserver_OneFlush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.has(t, "A", 10)
	w.has(t, "B", 3)
	w.has(t, "ELSEWHERE", 10)
	if err := w.DB.Exec("UPDATE stock SET layout = 'units' WHERE sku = 'ELSEWHERE'").Error; err != nil {
		t.Fatal(err)
	}
	if err := w.set.Release(t.Context(), "BURIED"); err != nil {
		t.Fatal(err)
	}
	orders := []struct {
		r    stock.Request
		want error
	}{
		{order("FIRST", line("B", 2), line("A", 4)), nil},
		{order("ODD", line("A", 1), line("NOTHING", 1)), stock.ErrUnknownSKU},
		{order("MOVED", line("A", 1), line("ELSEWHERE", 1)), stock.ErrWrongLayout},
		{order("LARGE", line("A", 1), line("B", 2)), stock.ErrOutOfStock},
		{order("FIRST", line("A", 4), line("B", 2)), nil},                 // the same in other words
		{order("FIRST", line("A", 4), line("B", 1)), stock.ErrMismatch},   // another
		{order("LARGE", line("A", 1), line("B", 2)), stock.ErrOutOfStock}, // refused again
		{order("LARGE", line("A", 1), line("B", 1)), nil},                 // a refused number is free
		{order("BURIED", line("A", 1)), stock.ErrClosed},
		{order("LAST", line("A", 5)), nil},
		{order("LATE", line("A", 1)), stock.ErrOutOfStock},
	}
	got := make([]answer, len(orders))
	var calls []func()
	for i, o := range orders {
		calls = append(calls, w.reserving(t, o.r, &got[i]))
	}
	w.together(t, "reserve", calls...)
	for i, o := range orders {
		if !errors.Is(got[i].err, o.want) || fault.Ambiguous(got[i].err) {
			t.Errorf("%d, %s: got %v (ambiguous %v), want %v", i, o.r.OrderNo, got[i].err, fault.Ambiguous(got[i].err), o.want)
		}
	}
	if diff := cmp.Diff(got[0].receipt, got[4].receipt); diff != "" {
		t.Errorf("two callers of one order got different receipts:\n%s", diff)
	}
	want := []stock.ShortLine{{SKU: "B", Requested: 2, Available: 1}}
	if diff := cmp.Diff(want, stocktest.ShortLines(got[3].err)); diff != "" {
		t.Errorf("the short lines (-want +got):\n%s", diff)
	}
	w.wantLedger(t, "A", 0, 10, 0)
	w.wantLedger(t, "B", 0, 3, 0)
}

// TestReserver_Statements has twice as many orders cost the same number of statements.
func TestReserver_Statements(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.has(t, "A", 1000)
	w.has(t, "B", 1000)
	count := func(operation string, orders int, run func(string) error) int64 {
		var calls []func()
		for i := range orders {
			calls = append(calls, func() {
				if err := run(fmt.Sprintf("%d-%d", orders, i)); err != nil {
					t.Errorf("%s: %v", operation, err)
				}
			})
		}
		return w.together(t, operation, calls...)
	}
	reserve := func(no string) error {
		_, err := w.set.Reserve(t.Context(), order(no, line("A", 1), line("B", 2)))
		return err
	}
	for operation, run := range map[string]func(string) error{
		"confirm": func(no string) error { return w.set.Confirm(t.Context(), "C-"+no) },
		"release": func(no string) error { return w.set.Release(t.Context(), "R-"+no) },
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
	w.wantLedger(t, "A", 900+50, 0, 50)
	w.wantLedger(t, "B", 800+100, 0, 100)
}

// TestReserver_OddOrderNumbers has order numbers that would end a text in SQL, or be a parameter, go through every
// statement of a flush beside an ordinary one.
func TestReserver_OddOrderNumbers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.has(t, "A", 100)
	odd := []string{"O'REILLY", `BACK\SLASH`, `\'`, "WHY?", "@NAME", `"QUOTE"`, "x'),(1);DROP/**/stock;--", "PLAIN-1"}
	var calls, repeats, ends, late []func()
	for i, no := range odd {
		reserve := func() {
			got, err := w.set.Reserve(t.Context(), order(no, line("A", 2)))
			if err != nil || got.OrderNo != no {
				t.Errorf("reserve %q: %+v, %v", no, got, err)
			}
		}
		calls, repeats = append(calls, reserve), append(repeats, reserve)
		end := w.set.Confirm
		if i%2 == 1 {
			end = w.set.Release
		}
		ends = append(ends, func() {
			if err := end(t.Context(), no); err != nil {
				t.Errorf("end %q: %v", no, err)
			}
		})
		late = append(late, func() {
			if err := w.set.Release(t.Context(), "?"+no); err != nil {
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
	w.wantLedger(t, "A", 92, 0, 8)
	for _, no := range odd {
		if state := w.Status(t, "?"+no); state != stock.Void {
			t.Errorf("the tombstone of %q is %q", no, state)
		}
	}
}

// TestReserver_KnownMeanwhile has another instance reserve two orders of a flush after the flush has looked for
// known ones. The insert is refused, and the flush begins again.
func TestReserver_KnownMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.has(t, "A", 10)
	w.has(t, "B", 10)
	other := w.another(t)
	var got [3]answer
	w.sent.Before("INSERT INTO reservations ", 2, func() {
		// On other rows than the flush has locked, or the two would wait for each other.
		if _, err := other.Reserve(t.Context(), forUpdate("SAME", line("B", 2))); err != nil {
			t.Errorf("the other instance: %v", err)
		}
		if err := other.Release(t.Context(), "GIVEN-UP"); err != nil {
			t.Errorf("the other instance's tombstone: %v", err)
		}
	})
	w.together(t, "reserve",
		w.reserving(t, order("SAME", line("A", 1)), &got[0]),
		w.reserving(t, order("GIVEN-UP", line("A", 1)), &got[1]),
		w.reserving(t, order("MINE", line("A", 1)), &got[2]))
	for i, want := range []error{stock.ErrMismatch, stock.ErrClosed, nil} {
		if !errors.Is(got[i].err, want) {
			t.Errorf("order %d: got %v, want %v", i, got[i].err, want)
		}
	}
	w.wantLedger(t, "A", 9, 1, 0)
	w.wantLedger(t, "B", 8, 2, 0)
}

// TestReserver_BadData has one order of a flush with counters that do not agree with its lines. Only that one fails.
func TestReserver_BadData(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, sku := range []string{"A", "BROKEN", "C"} {
		w.has(t, sku, 10)
		if _, err := w.set.Reserve(t.Context(), order("OF-"+sku, line(sku, 2))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.DB.Exec("UPDATE stock SET reserved = 1, available = 9 WHERE sku = 'BROKEN'").Error; err != nil {
		t.Fatal(err)
	}
	var errs [5]error
	confirming := func(i int, no string) func() { return func() { errs[i] = w.set.Confirm(t.Context(), no) } }
	w.together(t, "confirm", confirming(0, "OF-A"), confirming(1, "OF-BROKEN"), confirming(2, "UNKNOWN"), confirming(3, "OF-C"), confirming(4, "OF-A"))
	for i, want := range []error{nil, fault.ErrInternal, stock.ErrUnknownOrder, nil, nil} {
		if !errors.Is(errs[i], want) || fault.Ambiguous(errs[i]) {
			t.Errorf("order %d: got %v, want %v", i, errs[i], want)
		}
	}
	if state := w.Status(t, "OF-BROKEN"); state != stock.Reserved {
		t.Errorf("the broken order is %s", state)
	}
	for _, sku := range []string{"A", "C"} {
		if e := w.Entry(t, sku); e.Available != 8 || e.Sold != 2 {
			t.Errorf("%s: available %d, sold %d", sku, e.Available, e.Sold)
		}
	}
}

// TestReserver_SomeLeave has another session lock the stock row. A caller that cannot wait gets "not executed", and
// the others of the flush are served when the row is free.
func TestReserver_SomeLeave(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.has(t, "A", 10)
	sitting := w.beside.Begin()
	if err := sitting.Exec("UPDATE stock SET version = version + 1 WHERE sku = 'A'").Error; err != nil {
		sitting.Rollback()
		t.Fatal(err)
	}
	leave, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got [3]answer
	reserve := func(ctx context.Context, i int) func() {
		return func() {
			got[i].receipt, got[i].err = stocktest.Buy(ctx, w.set, order(fmt.Sprintf("ORDER-%d", i), line("A", 1)))
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
	w.together(t, "reserve", reserve(t.Context(), 0), reserve(impatient, 1), reserve(leave, 2))
	if got[0].err != nil {
		t.Errorf("who waited: %v", got[0].err)
	}
	if !errors.Is(got[1].err, stock.ErrContended) || fault.Ambiguous(got[1].err) {
		t.Errorf("whose time ran out: %v, want contended", got[1].err)
	}
	if !errors.Is(got[2].err, fault.ErrCanceled) || fault.Ambiguous(got[2].err) {
		t.Errorf("who left: %v, want cancelled and not executed", got[2].err)
	}
	w.wantLedger(t, "A", 9, 1, 0)
}

// TestReserver_Panic has a flush panic: its callers get an internal fault, and the next are
// served.
func TestReserver_Panic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.has(t, "A", 10)
	w.sent.Each(func(string) { panic("a bug") })
	if _, err := w.set.Reserve(t.Context(), order("ONE", line("A", 1))); fault.KindOf(err) != fault.Internal {
		t.Errorf("got %v, want an internal fault", err)
	}
	w.sent.Each(nil)
	if _, err := w.set.Reserve(t.Context(), order("TWO", line("A", 1))); err != nil {
		t.Errorf("the next: %v", err)
	}
	w.wantLedger(t, "A", 9, 1, 0)
}

// TestReserver_OrdersOfOthers has the default strategy end orders that another one reserved: by that one.
func TestReserver_OrdersOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.has(t, "A", 10)
	ctx := t.Context()
	other := w.another(t)
	for _, no := range []string{"SOLD", "BACK"} {
		if _, err := other.Reserve(ctx, forUpdate(no, line("A", 2))); err != nil {
			t.Fatal(err)
		}
	}
	var locked atomic.Int64 // for-update reads one header under a lock, by its number
	w.sent.Each(func(statement string) {
		if strings.HasSuffix(statement, "WHERE order_no = ? FOR UPDATE") {
			locked.Add(1)
		}
	})
	if err := errors.Join(w.set.Confirm(ctx, "SOLD"), w.set.Release(ctx, "BACK")); err != nil {
		t.Error(err)
	}
	if locked.Load() != 2 {
		t.Errorf("for-update ended %d orders, want 2", locked.Load())
	}
	w.wantLedger(t, "A", 8, 0, 2)
}

// TestReserver_Closed refuses what comes after the end.
func TestReserver_Closed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.has(t, "A", 10)
	if err := w.set.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := w.set.Reserve(t.Context(), order("ONE", line("A", 1)))
	for _, err := range []error{err, w.set.Confirm(t.Context(), "ONE"), w.set.Release(t.Context(), "ONE")} {
		if fault.KindOf(err) != fault.Unavailable || fault.Ambiguous(err) {
			t.Errorf("got %v, want unavailable and not executed", err)
		}
	}
}
