package groupcommit_test

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/internal/app"
	"holdfast/inventory-srv/internal/groupcommit"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/database"
	"holdfast/sql"
)

// world is an inventory whose default is group-commit. Its flusher can be kept busy, so that the calls that come
// meanwhile are one flush. It needs no Redis.
type world struct {
	stocktest.Ledger
	set      *strategy.Set
	sent     *stocktest.Statements // of the set
	registry *prometheus.Registry  // of the set
	beside   *gorm.DB              // a pool for other sessions
	rounds   int
}

// newWorld returns a world on a database of its own.
func newWorld(t *testing.T) *world {
	t.Helper()
	dsn := dbtest.NewDSN(t, sql.Inventory())
	return newWorldOn(t, dsn, dbtest.Open(t, dsn, database.Options{MaxOpen: 32}))
}

// newWorldOn returns a world on the migrated database at dsn. The set's statements go through db.
func newWorldOn(t *testing.T, dsn string, db *gorm.DB) *world {
	t.Helper()
	sent := stocktest.Watch(t, db)
	registry := prometheus.NewRegistry()
	a := open(t, app.Config{DB: db, Registry: registry})
	w := &world{
		Ledger: stocktest.Ledger{Store: a.Store, DB: db}, set: a.Stock, sent: sent, registry: registry,
		beside: dbtest.Open(t, dsn, database.Options{MaxOpen: 32}),
	}
	w.has(t, "BUSY-A", 1_000_000)
	w.has(t, "BUSY-B", 1_000_000)
	return w
}

// open makes a replica. Its orders may choose another strategy.
func open(t *testing.T, cfg app.Config) *app.App {
	t.Helper()
	cfg.Log, cfg.Strategy, cfg.Lab = slog.New(slog.DiscardHandler), groupcommit.Name, true
	a, err := app.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open a replica: %v", err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("close the replica: %v", err)
		}
	})
	return a
}

// another makes a second replica on the world's database.
func (w *world) another(t *testing.T) *strategy.Set {
	t.Helper()
	return open(t, app.Config{DB: w.beside}).Stock
}

// has adds a SKU with this many units.
func (w *world) has(t *testing.T, sku string, units int64) {
	t.Helper()
	_, err := w.Store.CreateProduct(t.Context(), store.Product{SKU: sku, Title: "Title of " + sku, PriceCents: 250})
	if err == nil {
		_, err = w.Store.Receive(t.Context(), store.Inbound{SKU: sku, Quantity: units, Reference: "first-" + sku, Reason: "test", Actor: "test"})
	}
	if err != nil {
		t.Fatalf("add %s: %v", sku, err)
	}
}

// wantLedger fails unless the ledger has no faults and the SKU has these counters.
func (w *world) wantLedger(t *testing.T, sku string, available, reserved, sold int64) {
	t.Helper()
	for _, fault := range w.Faults(t) {
		t.Errorf("the ledger is broken: %s", fault)
	}
	e := w.Entry(t, sku)
	if e.Available != available || e.Reserved != reserved || e.Sold != sold {
		t.Errorf("%s: available %d, reserved %d, sold %d; want %d, %d, %d", sku, e.Available, e.Reserved, e.Sold, available, reserved, sold)
	}
}

// together makes the calls one flush, in their order, and returns when all have ended: an order that precedes them
// keeps the flusher of the operation busy until the last of them is queued. It returns the number of statements that
// the flush sent.
func (w *world) together(t *testing.T, operation string, calls ...func()) int64 {
	t.Helper()
	w.rounds++
	no := fmt.Sprintf("BUSY-%d", w.rounds)
	first := "SELECT order_no" // the statement with which a flush begins
	busy := func() error {
		// An order of two lines reads before it writes.
		_, err := w.set.Reserve(t.Context(), order(no, line("BUSY-A", 1), line("BUSY-B", 1)))
		return err
	}
	switch operation {
	case "reserve":
		first = "SELECT s.sku"
	case "confirm":
		busy = func() error { _ = w.set.Confirm(t.Context(), no); return nil } // of an unknown order
	case "release":
		busy = func() error { return w.set.Release(t.Context(), no) }
	}
	held := w.sent.HoldNext(first)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := busy(); err != nil {
			t.Errorf("the order that keeps the flusher busy: %v", err)
		}
	})
	select {
	case <-held.Reached:
	case <-time.After(stocktest.Patience):
		t.Fatalf("no statement began with %q", first)
	}
	for i, call := range calls {
		wg.Go(call)
		eventually(t, fmt.Sprintf("call %d of %s is queued", i, operation), func() bool { return w.waiting(t, operation) == i+1 })
	}
	before := w.sent.Count()
	close(held.Resume)
	wg.Wait()
	return w.sent.Count() - before
}

// waiting returns the number of queued calls of an operation, by the metric.
func (w *world) waiting(t *testing.T, operation string) int {
	t.Helper()
	return int(w.metric(t, "stock_batch_waiting", operation))
}

// flushes returns the number of flushes of an operation, by the metric.
func (w *world) flushes(t *testing.T, operation string) int {
	t.Helper()
	return int(w.metric(t, "stock_batch_flush_seconds", operation))
}

// metric returns the value of an operation's gauge, or the number of samples of its histogram.
func (w *world) metric(t *testing.T, name, operation string) float64 {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatalf("gather: %v", err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() != operation {
				continue
			}
			if h := m.GetHistogram(); h != nil {
				return float64(h.GetSampleCount())
			}
			return m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s of %s", name, operation)
	return 0
}

// reserving returns a call that reserves and keeps its answer.
func (w *world) reserving(t *testing.T, r stock.Request, got *answer) func() {
	return func() { got.receipt, got.err = w.set.Reserve(t.Context(), r) }
}

type answer struct {
	receipt stock.Receipt
	err     error
}

// order is a request to the default strategy.
func order(no string, lines ...stock.Line) stock.Request {
	return stock.Request{OrderNo: no, Lines: lines}
}

// forUpdate is a request to another strategy.
func forUpdate(no string, lines ...stock.Line) stock.Request {
	return stock.Request{OrderNo: no, Lines: lines, Strategy: "for-update"}
}

func line(sku string, quantity int64) stock.Line { return stock.Line{SKU: sku, Quantity: quantity} }

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	testkit.EventuallyTrue(t, stocktest.Patience, what, condition)
}
