package strategy_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/fault"
)

// shop is a world with the strategy under test in both instances.
type shop struct {
	*world
	by string // the strategy's name
	at [2]*strategy.Set
}

// of returns the instance that serves caller i.
func (s shop) of(i int) *strategy.Set { return s.at[i%2] }

// suiteCase is one promise.
type suiteCase struct {
	name string
	run  func(*testing.T, shop)
	// races: different orders work on one SKU at the same time. Only this is more than an unguarded strategy can do; what
	// one order does to itself, the ledger guards for all of them.
	races bool
	// inSQL: it breaks the transaction in which a strategy decides. redis-lua has none, and tests of its own for the
	// transaction in which MySQL follows.
	inSQL bool
}

func suiteCases() []suiteCase {
	return []suiteCase{
		{name: "exact sell-out", run: testSellOut, races: true},
		{name: "quantities above one", run: testQuantities, races: true},
		{name: "several lines, all or nothing", run: testAllOrNothing},
		{name: "opposite line orders", run: testOppositeLines, races: true},
		{name: "a hundred SKUs", run: testManySKUs, races: true},
		{name: "linearizable", run: testLinearizable, races: true},
		{name: "one order from many callers", run: testDuplicates},
		{name: "one order from many callers, sold out", run: testDuplicatesSoldOut},
		{name: "mismatch", run: testMismatch},
		{name: "release before reserve", run: testReleaseBefore},
		{name: "release during reserve", run: testReleaseDuring, races: true},
		{name: "release after reserve", run: testReleaseAfter},
		{name: "release twice", run: testReleaseTwice},
		{name: "confirm", run: testConfirm},
		{name: "confirm and release race", run: testConfirmReleaseRace},
		{name: "cancelled contexts", run: testCancelled, races: true},
		{name: "killed connections", run: testKilledConnections, races: true},
		{name: "killed in a transaction", run: testKilledInTransaction, inSQL: true},
		{name: "killed in COMMIT", run: testKilledInCommit, inSQL: true},
		{name: "waits that run out", run: testWaits, inSQL: true},
		{name: "refused lines", run: testRefusedLines},
		{name: "a hundred lines", run: testHundredLines},
		{name: "no stock row of that layout", run: testWrongLayout},
		{name: "whatever comes", run: testModel},
	}
}

// TestSuite is what every strategy promises, on a real database and a real Redis, with two instances that share them. A
// strategy that is safe only alone has one instance; of one that is never safe it is asked only what it can keep, and
// TestUnsafe shows that it breaks the rest.
func TestSuite(t *testing.T) {
	t.Parallel()
	worlds := newWorlds(t)
	for _, s := range strategy.List() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			for _, c := range suiteCases() {
				if c.races && !s.Safe && !s.SafeAlone || c.inSQL && s.Layout == stock.LayoutRedis {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					w := worlds.take(t)
					w.lab, w.layout = !s.Safe, s.Layout
					if s.Layout == stock.LayoutRedis {
						w.open(t)
					}
					sh := shop{world: w, by: s.Name, at: [2]*strategy.Set{w.one.set(t), w.two.set(t)}}
					if s.SafeAlone {
						sh.at[1] = sh.at[0]
					}
					c.run(t, sh)
					if faults := w.faults(t); faults != nil {
						t.Errorf("the ledger is broken: %v", faults)
					}
				})
			}
		})
	}
}

func testSellOut(t *testing.T, s shop) {
	const buyers, units = 120, 40
	s.has(t, "HOT", units)
	ctx := soon(t)
	var sold, refused atomic.Int64
	atOnce(buyers, func(i int) {
		_, err := stocktest.Buy(ctx, s.of(i), order(fmt.Sprintf("ORDER-%d", i), s.by, line("HOT", 1)))
		switch {
		case err == nil:
			sold.Add(1)
		case errors.Is(err, stock.ErrOutOfStock):
			refused.Add(1)
		default:
			t.Errorf("buyer %d: %v", i, err)
		}
	})
	if sold.Load() != units || refused.Load() != buyers-units {
		t.Errorf("sold %d, refused %d; want %d, %d", sold.Load(), refused.Load(), units, buyers-units)
	}
	s.wantLedger(t, "HOT", 0, units, 0)
}

// testQuantities sells 50 units in quantities of 1 to 4. A refused order must have asked for more than was left at
// the end: nothing is given back, so stock only falls, and an order that fits at the end had fitted all the time.
func testQuantities(t *testing.T, s shop) {
	const buyers, units = 60, 50
	s.has(t, "HOT", units)
	ctx := soon(t)
	var sold atomic.Int64
	var smallestRefused atomic.Int64
	smallestRefused.Store(1 << 40)
	atOnce(buyers, func(i int) {
		quantity := int64(i%4 + 1)
		_, err := stocktest.Buy(ctx, s.of(i), order(fmt.Sprintf("ORDER-%d", i), s.by, line("HOT", quantity)))
		switch {
		case err == nil:
			sold.Add(quantity)
		case errors.Is(err, stock.ErrOutOfStock):
			for least := smallestRefused.Load(); quantity < least && !smallestRefused.CompareAndSwap(least, quantity); least = smallestRefused.Load() {
			}
		default:
			t.Errorf("buyer %d: %v", i, err)
		}
	})
	left := units - sold.Load()
	if smallestRefused.Load() <= left {
		t.Errorf("an order of %d was refused, and %d are left", smallestRefused.Load(), left)
	}
	s.wantLedger(t, "HOT", left, sold.Load(), 0)
}

func testAllOrNothing(t *testing.T, s shop) {
	s.has(t, "MANY", 100)
	s.has(t, "FEW", 3)
	lab := s.lab
	s.lab = true
	s.has(t, "NONE", 0)
	s.lab = lab
	_, err := s.of(0).Reserve(soon(t), order("ORDER", s.by, line("MANY", 5), line("NONE", 1), line("FEW", 4)))
	if !errors.Is(err, stock.ErrOutOfStock) {
		t.Fatalf("got %v, want out of stock", err)
	}
	want := []stock.ShortLine{{SKU: "FEW", Requested: 4, Available: 3, Lab: lab}, {SKU: "NONE", Requested: 1, Available: 0, Lab: true}}
	if diff := cmp.Diff(want, stocktest.ShortLines(err)); diff != "" {
		t.Errorf("the short lines (-want +got):\n%s", diff)
	}
	s.wantLedger(t, "MANY", 100, 0, 0)
	s.wantLedger(t, "FEW", 3, 0, 0)
	if state := s.state(t, "ORDER"); state != "" {
		t.Errorf("a refused order left a header with status %q", state)
	}
	// The same order may come again when there is stock.
	receipt, err := s.of(1).Reserve(soon(t), order("ORDER", s.by, line("MANY", 5), line("FEW", 3)))
	if err != nil {
		t.Fatalf("the order that fits: %v", err)
	}
	wantReceipt := stock.Receipt{OrderNo: "ORDER", Strategy: s.by, Lines: []stock.ReceiptLine{
		{SKU: "FEW", Title: "Title of FEW", Quantity: 3, UnitPriceCents: 250},
		{SKU: "MANY", Title: "Title of MANY", Quantity: 5, UnitPriceCents: 250},
	}}
	if diff := cmp.Diff(wantReceipt, receipt); diff != "" {
		t.Errorf("the receipt (-want +got):\n%s", diff)
	}
	s.wantLedger(t, "FEW", 0, 3, 0)
}

func testOppositeLines(t *testing.T, s shop) {
	const each = 40
	s.has(t, "A", 2*each)
	s.has(t, "B", 2*each)
	ctx := soon(t)
	atOnce(2*each, func(i int) {
		lines := []stock.Line{line("A", 1), line("B", 1)}
		if i%2 == 1 {
			lines[0], lines[1] = lines[1], lines[0]
		}
		if _, err := stocktest.Buy(ctx, s.of(i/2), order(fmt.Sprintf("ORDER-%d", i), s.by, lines...)); err != nil {
			t.Errorf("order %d: %v", i, err)
		}
	})
	s.wantLedger(t, "A", 0, 2*each, 0)
	s.wantLedger(t, "B", 0, 2*each, 0)
}

// testManySKUs has orders of four lines spread over a hundred SKUs, for which there is stock: none may be refused, and
// none may have met a deadlock, which the ledger would have repeated without notice.
func testManySKUs(t *testing.T, s shop) {
	const skus, orders, lines = 100, 150, 4
	all := make([]string, skus)
	for i := range all {
		all[i] = fmt.Sprintf("SKU-%02d", i)
	}
	s.hasMany(t, all, orders)
	ctx := soon(t)
	atOnce(orders, func(i int) {
		r := order(fmt.Sprintf("ORDER-%d", i), s.by)
		for l := range lines {
			r.Lines = append(r.Lines, line(all[(i*lines+l*l*7+l)%skus], 1))
		}
		if _, err := stocktest.Buy(ctx, s.of(i), r); err != nil {
			t.Errorf("order %d: %v", i, err)
		}
	})
	if n := s.one.deadlocks.Load() + s.two.deadlocks.Load(); n != 0 {
		t.Errorf("%d deadlocks: rows are not locked in SKU order everywhere", n)
	}
}

// testWaits has somebody else sit on the stock, wherever it is, for longer than anybody waits. The answer is
// contention, which is certainly not executed, and never that the shop is sold out.
func testWaits(t *testing.T, s shop) {
	s.has(t, "A", 10)
	if _, err := s.of(0).Reserve(soon(t), order("HELD", s.by, line("A", 1))); err != nil {
		t.Fatal(err)
	}
	sitting := s.one.db.Begin()
	defer sitting.Rollback()
	for _, query := range []string{
		"UPDATE stock SET version = version + 1 WHERE sku = 'A'",
		"UPDATE stock_buckets SET version = version + 1 WHERE sku = 'A'",
		"SELECT unit FROM stock_units WHERE sku = 'A' FOR UPDATE",
	} {
		if err := sitting.Exec(query).Error; err != nil {
			t.Fatal(err)
		}
	}
	operations := map[string]func(context.Context) error{
		"reserve": func(ctx context.Context) error {
			_, err := s.of(1).Reserve(ctx, order("LATE", s.by, line("A", 1)))
			return err
		},
		"confirm": func(ctx context.Context) error { return s.of(1).Confirm(ctx, "HELD") },
		"release": func(ctx context.Context) error { return s.of(1).Release(ctx, "HELD") },
	}
	for name, operation := range operations {
		ctx, cancel := context.WithTimeout(soon(t), 300*time.Millisecond)
		err := operation(ctx)
		cancel()
		if !errors.Is(err, stock.ErrContended) || fault.Ambiguous(err) {
			t.Errorf("%s: got %v (ambiguous %v), want contended", name, err, fault.Ambiguous(err))
		}
	}
	if err := sitting.Rollback().Error; err != nil {
		t.Fatal(err)
	}
	s.wantLedger(t, "A", 9, 1, 0)
}
