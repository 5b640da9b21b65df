package strategy_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/fault"
)

// unsafe are the strategies that are meant to fail. One that does not is a test failure: then either the strategy does
// not show what it is there to show, or the suite is blind.
func unsafe() []strategy.Strategy {
	var found []strategy.Strategy
	for _, s := range strategy.List() {
		if !s.Safe {
			found = append(found, s)
		}
	}
	return found
}

// labWorld is a world whose products may be harmed.
func labWorld(t *testing.T) *replicatest.World {
	t.Helper()
	w := replicatest.NewWorld(t)
	w.Lab = true
	return w
}

// stopBeforeWrite has an order of one unit of A read and then stop. goOn lets it write and waits for its success.
func stopBeforeWrite(ctx context.Context, t *testing.T, i replicatest.Instance, s stock.Reserver, by string) (goOn func()) {
	t.Helper()
	stopped := replicatest.StallAt(t, i, replicatest.BeforeWrite)
	holding := replicatest.GoReserve(ctx, s, replicatest.Order("HOLDER", by, replicatest.Line("A", 1)))
	stopped.Await(t, holding)
	return func() {
		close(stopped.Resume)
		if err := <-holding; err != nil {
			t.Errorf("the holder: %v", err)
		}
	}
}

// TestUnsafe_LostUpdate is the fault, made by hand: one order has read and not yet written when another instance sells.
func TestUnsafe_LostUpdate(t *testing.T) {
	t.Parallel()
	for _, s := range unsafe() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			w := labWorld(t)
			w.Has(t, "A", 10)
			ctx := replicatest.Soon(t)
			goOn := stopBeforeWrite(ctx, t, w.One, w.One.Set(t), s.Name)
			if _, err := w.Two.Set(t).Reserve(ctx, replicatest.Order("OTHER", s.Name, replicatest.Line("A", 1))); err != nil {
				t.Fatalf("the other: %v", err)
			}
			goOn()
			e := w.Entry(t, "A")
			if e.LinesReserved != 2 || e.Reserved != 1 || e.Available != 9 || w.Faults(t) == nil {
				t.Errorf("%+v: two orders hold a unit each, and the row must have forgotten one of them", e)
			}
		})
	}
}

// TestUnsafe_Load is the same by chance, as it happens to a shop.
func TestUnsafe_Load(t *testing.T) {
	t.Parallel()
	for _, s := range unsafe() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			w := labWorld(t)
			at := [2]*strategy.Set{w.One.Set(t), w.Two.Set(t)}
			var total harm
			deadline := time.Now().Add(replicatest.Patience)
			for rounds := 1; ; rounds++ {
				total.add(sellOutRound(t, w, at, s.Name, rounds))
				if total.oversold > 0 && total.lost > 0 {
					t.Logf("two instances: %v in %d rounds", total, rounds)
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("%v in %d rounds of load: the fault is not seen", total, rounds)
				}
			}
		})
	}
}

// harm is what was done to the stock.
type harm struct{ sold, oversold, lost int64 }

func (h *harm) add(one harm) {
	h.sold, h.oversold, h.lost = h.sold+one.sold, h.oversold+one.oversold, h.lost+one.lost
}

func (h harm) String() string {
	return fmt.Sprintf("%d sold, %d of them oversold, %d updates lost", h.sold, h.oversold, h.lost)
}

// sellOutRound has 60 buyers for 20 units of a new SKU.
func sellOutRound(t *testing.T, w *replicatest.World, at [2]*strategy.Set, by string, round int) harm {
	t.Helper()
	const buyers, units = 60, 20
	sku := fmt.Sprintf("ROUND-%d", round)
	w.Has(t, sku, units)
	ctx := replicatest.Soon(t)
	var sold atomic.Int64
	replicatest.AtOnce(buyers, func(i int) {
		_, err := stocktest.Buy(ctx, at[i%2], replicatest.Order(fmt.Sprintf("ORDER-%d-%d", round, i), by, replicatest.Line(sku, 1)))
		switch {
		case err == nil:
			sold.Add(1)
		case !errors.Is(err, stock.ErrOutOfStock):
			t.Errorf("buyer %d: %v", i, err)
		}
	})
	e := w.Entry(t, sku)
	if e.LinesReserved != sold.Load() {
		t.Errorf("%d buyers were told that they have one, and the ledger has %d lines", sold.Load(), e.LinesReserved)
	}
	return harm{sold: sold.Load(), oversold: max(0, sold.Load()-units), lost: e.LinesReserved - e.Reserved}
}

// TestMutex_Alone: with one instance the mutex keeps its promise. An order that comes while another one is between its
// read and its write has to wait, be it to reserve, to confirm or to release.
func TestMutex_Alone(t *testing.T) {
	t.Parallel()
	w := labWorld(t)
	w.Has(t, "A", 10)
	s := w.One.Set(t)
	ctx := replicatest.Soon(t)
	for _, no := range []string{"TO-CONFIRM", "TO-RELEASE"} {
		if _, err := s.Reserve(ctx, replicatest.Order(no, "mutex", replicatest.Line("A", 1))); err != nil {
			t.Fatal(err)
		}
	}
	goOn := stopBeforeWrite(ctx, t, w.One, s, "mutex")
	others := make(chan error, 3)
	go func() { others <- s.Confirm(ctx, "TO-CONFIRM") }()
	go func() { others <- s.Release(ctx, "TO-RELEASE") }()
	go func() {
		_, err := s.Reserve(ctx, replicatest.Order("OTHER", "mutex", replicatest.Line("A", 1)))
		others <- err
	}()
	select {
	case err := <-others:
		t.Errorf("somebody was let in between a read and a write (%v)", err)
	case <-time.After(100 * time.Millisecond): // as long as a wrong mutex would need to let an order through
	}
	goOn()
	for range 3 {
		if err := <-others; err != nil {
			t.Error(err)
		}
	}
	w.WantLedger(t, "A", 7, 2, 1)
}

// TestMutex_OtherInstance: confirms of another instance are overwritten too.
func TestMutex_OtherInstance(t *testing.T) {
	t.Parallel()
	w := labWorld(t)
	w.Has(t, "A", 10)
	ctx := replicatest.Soon(t)
	one, two := named(t, "mutex", w.One), named(t, "mutex", w.Two)
	if _, err := one.Reserve(ctx, replicatest.Order("TO-CONFIRM", "mutex", replicatest.Line("A", 1))); err != nil {
		t.Fatal(err)
	}
	goOn := stopBeforeWrite(ctx, t, w.One, one, "mutex")
	if err := two.Confirm(ctx, "TO-CONFIRM"); err != nil {
		t.Fatal(err)
	}
	goOn()
	if e := w.Entry(t, "A"); e.Reserved != 2 || e.LinesReserved != 1 || e.Sold != 1 {
		t.Errorf("%+v: the row must have forgotten that one unit is no longer reserved", e)
	}
}

// TestMutex_Delivery is what is lost even with one instance: what comes through another door than the strategy's.
func TestMutex_Delivery(t *testing.T) {
	t.Parallel()
	w := labWorld(t)
	w.Has(t, "A", 10)
	ctx := replicatest.Soon(t)
	goOn := stopBeforeWrite(ctx, t, w.One, named(t, "mutex", w.One), "mutex")
	delivery := store.Inbound{SKU: "A", Quantity: 5, Reference: "delivery", Reason: "test", Actor: "test"}
	if _, err := w.Two.Store.Receive(ctx, delivery); err != nil {
		t.Fatal(err)
	}
	goOn()
	if e := w.Entry(t, "A"); e.Inbound != 15 || e.Available != 9 {
		t.Errorf("%+v: the delivery of five must have been overwritten", e)
	}
}

// TestUnsafe_RealStock: stock that was not created for the lab is out of their reach.
func TestUnsafe_RealStock(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	w.Has(t, "REAL", 10)
	w.Lab = true
	w.Has(t, "LAB", 10)
	for _, s := range unsafe() {
		_, err := named(t, s.Name, w.One).Reserve(replicatest.Soon(t), replicatest.Order("ORDER", s.Name, replicatest.Line("LAB", 1), replicatest.Line("REAL", 1)))
		if f := fault.From(err); !errors.Is(err, stock.ErrLabOnly) || f.Ambiguous || f.Details["sku"] != "REAL" {
			t.Errorf("%s on real stock: %v", s.Name, err)
		}
	}
	w.WantLedger(t, "REAL", 10, 0, 0)
	w.WantLedger(t, "LAB", 10, 0, 0)
}
