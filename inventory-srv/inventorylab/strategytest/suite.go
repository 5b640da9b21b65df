// Package strategytest is the conformance suite of the stock strategies. The service's own tests run it on each
// strategy of the service; a strategy from outside runs it from a test of its own:
//
//	func TestMain(m *testing.M) { os.Exit(strategytest.Main(m)) }
//	func TestSuite(t *testing.T) { strategytest.Run(t, mine) }
//
// The servers are those of HOLDFAST_MYSQL and HOLDFAST_REDIS, or private ones.
package strategytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/fault"
)

// shop is a world with the strategy under test in both instances.
type shop struct {
	*replicatest.World
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

// Cases returns the names of the suite's cases, in their order. A case is a subtest of the test that calls Run.
func Cases() []string {
	var names []string
	for _, c := range suiteCases() {
		names = append(names, c.name)
	}
	return names
}

// Run checks what every strategy promises, on a real database and a real Redis, with two instances that share them. A
// strategy that is safe only alone has one instance; of one that is never safe only that is checked which it can keep.
// s is a strategy of the service or one from outside.
func Run(t *testing.T, s strategy.Strategy) {
	t.Helper()
	RunIn(t, NewWorlds(t, s), s)
}

// NewWorlds returns the inventories in which RunIn checks s. Several runs may share those of strategies of the service.
func NewWorlds(t *testing.T, s ...strategy.Strategy) *replicatest.Worlds {
	t.Helper()
	known := strategy.Names()
	extra := slices.DeleteFunc(s, func(one strategy.Strategy) bool { return slices.Contains(known, one.Name) })
	return replicatest.NewWorlds(t, extra...)
}

// RunIn is Run in inventories of the caller. Its cases run in parallel.
func RunIn(t *testing.T, worlds *replicatest.Worlds, s strategy.Strategy) {
	t.Helper()
	for _, c := range suiteCases() {
		if c.races && !s.Safe && !s.SafeAlone || c.inSQL && s.Layout == stock.LayoutRedis {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := worlds.Take(t)
			w.Lab, w.Layout = !s.Safe, s.Layout
			if s.Layout == stock.LayoutRedis {
				w.Open(t)
			}
			sh := shop{World: w, by: s.Name, at: [2]*strategy.Set{w.One.Set(t), w.Two.Set(t)}}
			if s.SafeAlone {
				sh.at[1] = sh.at[0]
			}
			c.run(t, sh)
			if faults := w.Faults(t); faults != nil {
				t.Errorf("the ledger is broken: %v", faults)
			}
		})
	}
}

func testSellOut(t *testing.T, s shop) {
	const buyers, units = 120, 40
	s.Has(t, "HOT", units)
	ctx := replicatest.Soon(t)
	var sold, refused atomic.Int64
	replicatest.AtOnce(buyers, func(i int) {
		_, err := stocktest.Buy(ctx, s.of(i), replicatest.Order(fmt.Sprintf("ORDER-%d", i), s.by, replicatest.Line("HOT", 1)))
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
	s.WantLedger(t, "HOT", 0, units, 0)
}

// testQuantities sells 50 units in quantities of 1 to 4. A refused order must have asked for more than was left at
// the end: nothing is given back, so stock only falls, and an order that fits at the end had fitted all the time.
func testQuantities(t *testing.T, s shop) {
	const buyers, units = 60, 50
	s.Has(t, "HOT", units)
	ctx := replicatest.Soon(t)
	var sold atomic.Int64
	var smallestRefused atomic.Int64
	smallestRefused.Store(1 << 40)
	replicatest.AtOnce(buyers, func(i int) {
		quantity := int64(i%4 + 1)
		_, err := stocktest.Buy(ctx, s.of(i), replicatest.Order(fmt.Sprintf("ORDER-%d", i), s.by, replicatest.Line("HOT", quantity)))
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
	s.WantLedger(t, "HOT", left, sold.Load(), 0)
}

func testAllOrNothing(t *testing.T, s shop) {
	s.Has(t, "MANY", 100)
	s.Has(t, "FEW", 3)
	lab := s.Lab
	s.Lab = true
	s.Has(t, "NONE", 0)
	s.Lab = lab
	_, err := s.of(0).Reserve(replicatest.Soon(t), replicatest.Order("ORDER", s.by, replicatest.Line("MANY", 5), replicatest.Line("NONE", 1), replicatest.Line("FEW", 4)))
	if !errors.Is(err, stock.ErrOutOfStock) {
		t.Fatalf("got %v, want out of stock", err)
	}
	want := []stock.ShortLine{{SKU: "FEW", Requested: 4, Available: 3, Lab: lab}, {SKU: "NONE", Requested: 1, Available: 0, Lab: true}}
	if diff := cmp.Diff(want, stocktest.ShortLines(err)); diff != "" {
		t.Errorf("the short lines (-want +got):\n%s", diff)
	}
	s.WantLedger(t, "MANY", 100, 0, 0)
	s.WantLedger(t, "FEW", 3, 0, 0)
	if state := s.State(t, "ORDER"); state != "" {
		t.Errorf("a refused order left a header with status %q", state)
	}
	// The same order may come again when there is stock.
	receipt, err := s.of(1).Reserve(replicatest.Soon(t), replicatest.Order("ORDER", s.by, replicatest.Line("MANY", 5), replicatest.Line("FEW", 3)))
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
	s.WantLedger(t, "FEW", 0, 3, 0)
}

func testOppositeLines(t *testing.T, s shop) {
	const each = 40
	s.Has(t, "A", 2*each)
	s.Has(t, "B", 2*each)
	ctx := replicatest.Soon(t)
	replicatest.AtOnce(2*each, func(i int) {
		lines := []stock.Line{replicatest.Line("A", 1), replicatest.Line("B", 1)}
		if i%2 == 1 {
			lines[0], lines[1] = lines[1], lines[0]
		}
		if _, err := stocktest.Buy(ctx, s.of(i/2), replicatest.Order(fmt.Sprintf("ORDER-%d", i), s.by, lines...)); err != nil {
			t.Errorf("order %d: %v", i, err)
		}
	})
	s.WantLedger(t, "A", 0, 2*each, 0)
	s.WantLedger(t, "B", 0, 2*each, 0)
}

// testManySKUs has orders of four lines spread over a hundred SKUs, for which there is stock: none may be refused, and
// none may have met a deadlock, which the ledger would have repeated without notice.
func testManySKUs(t *testing.T, s shop) {
	const skus, orders, lines = 100, 150, 4
	all := make([]string, skus)
	for i := range all {
		all[i] = fmt.Sprintf("SKU-%02d", i)
	}
	s.HasMany(t, all, orders)
	ctx := replicatest.Soon(t)
	replicatest.AtOnce(orders, func(i int) {
		r := replicatest.Order(fmt.Sprintf("ORDER-%d", i), s.by)
		for l := range lines {
			r.Lines = append(r.Lines, replicatest.Line(all[(i*lines+l*l*7+l)%skus], 1))
		}
		if _, err := stocktest.Buy(ctx, s.of(i), r); err != nil {
			t.Errorf("order %d: %v", i, err)
		}
	})
	if n := s.One.Deadlocks.Load() + s.Two.Deadlocks.Load(); n != 0 {
		t.Errorf("%d deadlocks: rows are not locked in SKU order everywhere", n)
	}
}

// testWaits has another transaction hold the stock, wherever it is, for longer than a caller waits. The answer is
// contention, which is certainly not executed, and never that the shop is sold out.
func testWaits(t *testing.T, s shop) {
	s.Has(t, "A", 10)
	if _, err := s.of(0).Reserve(replicatest.Soon(t), replicatest.Order("HELD", s.by, replicatest.Line("A", 1))); err != nil {
		t.Fatal(err)
	}
	sitting := s.One.DB.Begin()
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
			_, err := s.of(1).Reserve(ctx, replicatest.Order("LATE", s.by, replicatest.Line("A", 1)))
			return err
		},
		"confirm": func(ctx context.Context) error { return s.of(1).Confirm(ctx, "HELD") },
		"release": func(ctx context.Context) error { return s.of(1).Release(ctx, "HELD") },
	}
	for name, operation := range operations {
		ctx, cancel := context.WithTimeout(replicatest.Soon(t), 300*time.Millisecond)
		err := operation(ctx)
		cancel()
		if !errors.Is(err, stock.ErrContended) || fault.Ambiguous(err) {
			t.Errorf("%s: got %v (ambiguous %v), want contended", name, err, fault.Ambiguous(err))
		}
	}
	if err := sitting.Rollback().Error; err != nil {
		t.Fatal(err)
	}
	s.WantLedger(t, "A", 9, 1, 0)
}
