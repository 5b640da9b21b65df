package strategy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/inventory-srv/internal/app"
	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/fault"
)

// TestStrategies_Mixed has all strategies sell the same two SKUs at once, while other orders are confirmed and
// released: a shop that changes its configuration has both kinds of replica for a while.
func TestStrategies_Mixed(t *testing.T) {
	t.Parallel()
	const orders, units = 120, 50
	w := replicatest.NewWorld(t)
	w.Has(t, "A", units)
	w.Has(t, "B", units)
	at := [2]*strategy.Set{w.One.Set(t), w.Two.Set(t)}
	names := safeNames()
	ctx := replicatest.Soon(t)
	var held, confirmed atomic.Int64
	replicatest.AtOnce(orders, func(i int) {
		s, no := at[i%2], fmt.Sprintf("ORDER-%d", i)
		_, err := stocktest.Buy(ctx, s, replicatest.Order(no, names[i/2%len(names)], replicatest.Line("B", 1), replicatest.Line("A", 1)))
		if errors.Is(err, stock.ErrOutOfStock) {
			return
		}
		if err != nil {
			t.Errorf("reserve %s: %v", no, err)
			return
		}
		held.Add(1)
		switch i % 3 { // by the other instance
		case 0:
			err = replicatest.Settle(ctx, at[(i+1)%2].Confirm, no)
			confirmed.Add(1)
		case 1:
			err = replicatest.Settle(ctx, at[(i+1)%2].Release, no)
			held.Add(-1)
		}
		if err != nil {
			t.Errorf("end %s: %v", no, err)
		}
	})
	w.WantLedger(t, "A", units-held.Load(), held.Load()-confirmed.Load(), confirmed.Load())
	w.WantLedger(t, "B", units-held.Load(), held.Load()-confirmed.Load(), confirmed.Load())
}

// TestStrategies_Pairs has each two strategies sell one SKU, each on an instance of its own, down to the last unit.
func TestStrategies_Pairs(t *testing.T) {
	t.Parallel()
	const orders, units = 40, 20
	w := replicatest.NewWorld(t)
	at := [2]*strategy.Set{w.One.Set(t), w.Two.Set(t)}
	names := safeNames()
	for first, one := range names {
		for second, two := range names[first+1:] {
			t.Run(one+" and "+two, func(t *testing.T) {
				t.Parallel()
				sku := "PAIR-" + strings.ToUpper(one+"-"+two)
				w.Has(t, sku, units)
				ctx := replicatest.Soon(t)
				by := [2]string{one, two}
				var sold [2]atomic.Int64
				replicatest.AtOnce(orders, func(i int) {
					_, err := stocktest.Buy(ctx, at[i%2], replicatest.Order(fmt.Sprintf("PAIR-%d-%d-%d", first, second, i), by[i%2], replicatest.Line(sku, 1)))
					switch {
					case err == nil:
						sold[i%2].Add(1)
					case !errors.Is(err, stock.ErrOutOfStock):
						t.Errorf("order %d: %v", i, err)
					}
				})
				if got := sold[0].Load() + sold[1].Load(); got != units {
					t.Errorf("sold %d of %d", got, units)
				}
				t.Logf("%s sold %d, %s sold %d", one, sold[0].Load(), two, sold[1].Load())
				w.WantLedger(t, sku, 0, units, 0)
			})
		}
	}
}

func TestSet_Reserve(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	w.Has(t, "A", 10)
	outside := w.One
	outside.Registry = nil // the laboratory's strategies use it
	service := outside.Build(t, app.Config{Strategy: "for-update"}).Stock
	ctx := replicatest.Soon(t)
	receipt, err := service.Reserve(ctx, replicatest.Order("BY-DEFAULT", "", replicatest.Line("A", 1)))
	if err != nil || receipt.Strategy != "for-update" {
		t.Errorf("without a name: strategy %q, error %v", receipt.Strategy, err)
	}
	if _, err := service.Reserve(ctx, replicatest.Order("BY-NAME", "for-update", replicatest.Line("A", 1))); err != nil {
		t.Errorf("the default by its name: %v", err)
	}
	for _, s := range []stock.Reserver{service, w.One.Set(t)} {
		_, err := s.Reserve(ctx, replicatest.Order("BY-MAGIC", "magic", replicatest.Line("A", 1)))
		if !errors.Is(err, stock.ErrUnknownStrategy) || fault.Ambiguous(err) {
			t.Errorf("an unknown strategy: got %v", err)
		}
	}
	if _, err := service.Reserve(ctx, replicatest.Order("BY-WISH", "redis-lock", replicatest.Line("A", 1))); !errors.Is(err, stock.ErrUnknownStrategy) {
		t.Errorf("another strategy outside of the lab: got %v", err)
	}
	if _, err := app.Open(ctx, app.Config{DB: w.One.DB, Strategy: "magic"}); !errors.Is(err, stock.ErrUnknownStrategy) {
		t.Errorf("a set with an unknown default: got %v", err)
	}
}

// safeNames are the strategies of the row that may work beside one another.
func safeNames() []string {
	var names []string
	for _, s := range strategy.List() {
		if s.Safe && s.Layout == stock.LayoutRow {
			names = append(names, s.Name)
		}
	}
	return names
}

// TestStrategies_endUnderTheMutex: an order that mutex has reserved is ended under the mutex only. A look for its
// strategy before the reserve has found none, so another strategy may be asked to end it.
func TestStrategies_endUnderTheMutex(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	w.Lab = true
	w.Has(t, "A", 10)
	set := w.One.Set(t)
	if _, err := set.Reserve(replicatest.Soon(t), replicatest.Order("ORDER", "mutex", replicatest.Line("A", 1))); err != nil {
		t.Fatal(err)
	}
	for _, name := range strategy.Names() {
		for what, end := range map[string]func(context.Context, string) error{
			"confirm": set.Reserver(name).Confirm, "release": set.Reserver(name).Release,
		} {
			if name == "mutex" || name == redisLua {
				continue // the one that does; the one that has no Redis here
			}
			err := end(replicatest.Soon(t), "ORDER")
			if other, ok := errors.AsType[*stock.OtherStrategyError](err); !ok || other.Strategy != "mutex" {
				t.Errorf("%s: %s answers %v, want that mutex ends it", name, what, err)
			}
		}
	}
	w.WantLedger(t, "A", 9, 1, 0)
	if err := set.Release(replicatest.Soon(t), "ORDER"); err != nil {
		t.Fatal(err)
	}
	w.WantLedger(t, "A", 10, 0, 0)
}
