package strategy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/inventory-srv/internal/groupcommit"
	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
)

// seller is a layout with one of its strategies.
type seller struct{ layout, by string }

func sellers() []seller {
	return []seller{{stock.LayoutRow, "conditional"}, {stock.LayoutRow, groupcommit.Name}, {stock.LayoutBuckets, "buckets"}, {stock.LayoutUnits, "skip-locked"}, {stock.LayoutRedis, "redis-lua"}}
}

// pairs calls test for each two sellers whose layouts differ, both ways.
func pairs(t *testing.T, test func(*testing.T, *replicatest.World, seller, seller)) {
	t.Helper()
	t.Parallel()
	worlds := replicatest.NewWorlds(t)
	for _, from := range sellers() {
		for _, to := range sellers() {
			if from.layout == to.layout {
				continue
			}
			t.Run(from.by+" to "+to.by, func(t *testing.T) {
				t.Parallel()
				w := worlds.Take(t)
				if from.layout == stock.LayoutRedis || to.layout == stock.LayoutRedis {
					w.Open(t)
				}
				w.Layout = from.layout
				test(t, w, from, to)
			})
		}
	}
}

func relay(t *testing.T, w *replicatest.World, sku, layout string) {
	t.Helper()
	if err := w.Two.SetLayout(replicatest.Soon(t), sku, layout); err != nil {
		t.Fatalf("to %s: %v", layout, err)
	}
}

// TestLayout_OpenOrders changes the layout while orders are open: they are confirmed and released as ever, and what
// is left is sold to the last unit in the new way.
func TestLayout_OpenOrders(t *testing.T) { // parallel in pairs
	pairs(t, func(t *testing.T, w *replicatest.World, from, to seller) {
		w.Has(t, "A", 20)
		one, two := w.One.Set(t), w.Two.Set(t)
		ctx := replicatest.Soon(t)
		for i := range 6 {
			if _, err := stocktest.Buy(ctx, one, replicatest.Order(fmt.Sprintf("OLD-%d", i), from.by, replicatest.Line("A", 2))); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(two.Confirm(ctx, "OLD-0"), two.Release(ctx, "OLD-1")); err != nil {
			t.Fatal(err)
		}
		w.WantLedger(t, "A", 10, 8, 2)
		relay(t, w, "A", to.layout)
		w.WantLedger(t, "A", 10, 8, 2)
		if _, err := one.Reserve(ctx, replicatest.Order("LATE", from.by, replicatest.Line("A", 1))); !errors.Is(err, stock.ErrWrongLayout) {
			t.Errorf("by the old strategy: got %v, want a wrong layout", err)
		}
		if err := errors.Join(one.Confirm(ctx, "OLD-2"), two.Release(ctx, "OLD-3")); err != nil {
			t.Fatal(err)
		}
		w.WantLedger(t, "A", 12, 4, 4)
		for i := range 4 {
			if _, err := stocktest.Buy(ctx, two, replicatest.Order(fmt.Sprintf("NEW-%d", i), to.by, replicatest.Line("A", 3))); err != nil {
				t.Fatalf("order %d by %s: %v", i, to.by, err)
			}
		}
		if _, err := two.Reserve(ctx, replicatest.Order("ONE-MORE", to.by, replicatest.Line("A", 1))); !errors.Is(err, stock.ErrOutOfStock) {
			t.Errorf("one more than there is: %v", err)
		}
		w.WantLedger(t, "A", 0, 16, 4)
		relay(t, w, "A", from.layout)
		if err := errors.Join(one.Confirm(ctx, "OLD-4"), one.Release(ctx, "OLD-5"), two.Confirm(ctx, "NEW-0"), one.Release(ctx, "NEW-1")); err != nil {
			t.Fatal(err)
		}
		w.WantLedger(t, "A", 5, 6, 9)
		if _, err := stocktest.Buy(ctx, one, replicatest.Order("LAST", from.by, replicatest.Line("A", 5))); err != nil {
			t.Errorf("what came back, by the first strategy again: %v", err)
		}
		w.WantLedger(t, "A", 0, 11, 9)
	})
}

// TestLayout_UnderLoad changes the layout to and fro while exactly as many buyers as there are units buy, confirm,
// and give back and buy again. Each must get a unit in the end: a refusal would be a lie.
func TestLayout_UnderLoad(t *testing.T) { // parallel in pairs
	pairs(t, func(t *testing.T, w *replicatest.World, from, to seller) {
		const buyers, leastChanges = 40, 6
		w.Has(t, "A", buyers)
		at := [2]*strategy.Set{w.One.Set(t), w.Two.Set(t)}
		// Each change takes all orders of the product with it, and several pairs run at once: on a busy machine a minute is
		// too short for the last buyer.
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
		defer stop()
		var changes, wrong, done atomic.Int64
		var changing sync.WaitGroup
		changing.Go(func() {
			for ctx.Err() == nil && (changes.Load() < leastChanges || done.Load() < buyers) {
				for _, layout := range []string{to.layout, from.layout} {
					if err := w.Two.SetLayout(ctx, "A", layout); err != nil && !errors.Is(err, stock.ErrContended) {
						t.Errorf("to %s: %v", layout, err)
						return
					}
					changes.Add(1)
				}
			}
		})
		replicatest.AtOnce(buyers, func(i int) {
			defer done.Add(1)
			for round := 0; ctx.Err() == nil; round++ {
				no := fmt.Sprintf("ORDER-%d-%d", i, round)
				if err := buyInEither(ctx, at[i%2], no, &wrong, from, to); err != nil {
					t.Errorf("buyer %d: %v", i, err)
					return
				}
				if round == 0 || changes.Load() < leastChanges { // something to come back while the layout changes
					if err := replicatest.Settle(ctx, at[(i+1)%2].Release, no); err != nil {
						t.Errorf("release %s: %v", no, err)
					}
					continue
				}
				if err := replicatest.Settle(ctx, at[(i+1)%2].Confirm, no); err != nil {
					t.Errorf("confirm %s: %v", no, err)
				}
				return
			}
		})
		changing.Wait()
		t.Logf("%d changes of layout, %d answers \"wrong layout\"", changes.Load(), wrong.Load())
		if faults := w.Faults(t); faults != nil {
			t.Errorf("the ledger is broken: %s", strings.Join(faults, "; "))
		}
		w.WantLedger(t, "A", 0, 0, buyers)
	})
}

// buyInEither asks by one strategy, and by the other when the layout is wrong, until the answer is another one.
func buyInEither(ctx context.Context, s stock.Reserver, no string, wrong *atomic.Int64, sellers ...seller) error {
	for i := 0; ; i++ {
		_, err := stocktest.Buy(ctx, s, replicatest.Order(no, sellers[i%len(sellers)].by, replicatest.Line("A", 1)))
		if !errors.Is(err, stock.ErrWrongLayout) || ctx.Err() != nil {
			return err
		}
		wrong.Add(1)
	}
}

// TestPlaces_NoFalseRefusal: somebody has locked the last unit and has not committed. Whoever wants it too must wait
// for the outcome, and gets it when there was none.
func TestPlaces_NoFalseRefusal(t *testing.T) {
	t.Parallel()
	for _, s := range sellers() {
		if s.layout == stock.LayoutRow || s.layout == stock.LayoutRedis {
			continue
		}
		t.Run(s.by, func(t *testing.T) {
			t.Parallel()
			w := replicatest.NewWorld(t)
			w.Layout = s.layout
			w.Has(t, "A", 1)
			two := w.Two.Set(t)
			ctx := replicatest.Soon(t)
			// lays the unit out
			if _, err := two.Reserve(ctx, replicatest.Order("FIRST", s.by, replicatest.Line("A", 1))); err != nil {
				t.Fatal(err)
			}
			if err := two.Release(ctx, "FIRST"); err != nil {
				t.Fatal(err)
			}
			w.Has(t, "Z", 1)
			stopped := replicatest.StallAt(t, w.One, replicatest.BeforeLines)
			holding, giveUp := context.WithCancel(ctx)
			defer giveUp()
			holder := replicatest.GoReserve(holding, w.One.Set(t), replicatest.Order("HOLDER", s.by, replicatest.Line("A", 1), replicatest.Line("Z", 1)))
			stopped.Await(t, holder)
			second := replicatest.GoReserve(ctx, two, replicatest.Order("SECOND", s.by, replicatest.Line("A", 1)))
			replicatest.Eventually(t, "the second one's wait", func() bool {
				select {
				case err := <-second:
					t.Fatalf("the last unit may come back, and the second order was answered: %v", err)
				default:
				}
				return w.Waiting(t)
			})
			giveUp()
			close(stopped.Resume)
			if err := <-holder; err == nil {
				t.Fatal("the holder was not cut: this run has shown nothing")
			}
			if err := <-second; err != nil {
				t.Errorf("the unit came back, and the second order got %v", err)
			}
			w.WantLedger(t, "A", 0, 1, 0)
		})
	}
}

// TestBuckets_Starved: one bucket has everything. The order that finds another one empty deals the units out again,
// with a delivery that waits in the store room.
func TestBuckets_Starved(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	w.Layout = stock.LayoutBuckets
	w.Has(t, "A", 70)
	set := w.One.Set(t)
	ctx := replicatest.Soon(t)
	if _, err := set.Reserve(ctx, replicatest.Order("FIRST", "buckets", replicatest.Line("A", 6))); err != nil {
		t.Fatal(err)
	}
	buckets := func() (n []int64) {
		t.Helper()
		if err := w.One.DB.Raw("SELECT available FROM stock_buckets WHERE sku = 'A' ORDER BY bucket").Scan(&n).Error; err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := w.One.DB.Exec("UPDATE stock_buckets SET available = IF(bucket = 1, 64, 0) WHERE sku = 'A'").Error; err != nil {
		t.Fatal(err)
	}
	in := store.Inbound{SKU: "A", Quantity: 16, Reference: "second-A", Reason: "test", Actor: "test"}
	if _, err := w.Two.Store.Receive(ctx, in); err != nil {
		t.Fatal(err)
	}
	for i := 0; slices.Max(buckets()) > 6; i++ { // until one has come to an empty bucket; one in sixteen does not
		if _, err := set.Reserve(ctx, replicatest.Order(fmt.Sprintf("ORDER-%d", i), "buckets", replicatest.Line("A", 1))); err != nil {
			t.Fatal(err)
		}
	}
	if n := buckets(); slices.Max(n)-slices.Min(n) > 1 {
		t.Errorf("dealt out as %v", n)
	}
	if faults := w.Faults(t); faults != nil {
		t.Error(faults)
	}
}

// TestSkipLocked_ManyUnits: a delivery of a million costs no million rows. Rows are made when they are needed.
func TestSkipLocked_ManyUnits(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	w.Layout = stock.LayoutUnits
	w.Has(t, "A", 1_000_000)
	set := w.One.Set(t)
	ctx := replicatest.Soon(t)
	for i := range 3 {
		if _, err := set.Reserve(ctx, replicatest.Order(fmt.Sprintf("ORDER-%d", i), "skip-locked", replicatest.Line("A", 1000))); err != nil {
			t.Fatal(err)
		}
	}
	w.WantLedger(t, "A", 997_000, 3000, 0)
	var rows int64
	if err := w.One.DB.Raw("SELECT COUNT(*) FROM stock_units").Scan(&rows).Error; err != nil {
		t.Fatal(err)
	}
	if rows > 4000 {
		t.Errorf("%d unit rows for 3,000 units", rows)
	}
}
