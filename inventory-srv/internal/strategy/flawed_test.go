package strategy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/inventory-srv/internal/flawed"
	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/strategy"
)

// damage is what a flaw has done, counted.
type damage struct {
	oversold int64 // units promised that never came in
	lost     int64 // sales that are missing in the counters
	stuck    int64 // buyers without an answer
	refused  int64 // buyers that got "sold out" although there was enough
}

func (d damage) String() string {
	return fmt.Sprintf("oversold %d, lost updates %d, stuck %d, falsely refused %d", d.oversold, d.lost, d.stuck, d.refused)
}

// scene is a world in which a flaw, or its cure, is played. Every instance has a reserver of its own.
type scene struct {
	*replicatest.World
	by   string
	make holder
	cure bool // what is played is the cure
}

func (s scene) at(t *testing.T, i replicatest.Instance) replicatest.Reserver { return s.make(t, i) }

func (s scene) order(no string, lines ...stock.Line) stock.Request {
	return replicatest.Order(no, s.by, lines...)
}

// damageTo sums up what the ledger shows of one SKU.
func (s scene) damageTo(t *testing.T, sku string) damage {
	t.Helper()
	e := s.Entry(t, sku)
	return damage{oversold: max(0, e.LinesReserved+e.LinesConfirmed-e.Inbound), lost: max(0, e.LinesReserved-e.Reserved)}
}

// exhibit is a flaw's play: it must do some of want's kind of harm, and with the cure none at all.
type exhibit struct {
	flaw string
	want damage // 1: some
	play func(*testing.T, scene) damage
}

func exhibits() []exhibit {
	return []exhibit{
		{"unlock-before-commit", damage{lost: 1}, playUnlockBeforeCommit},
		{"save-after-expiry", damage{lost: 1}, playSaveAfterExpiry},
		{"leaked-lock", damage{stuck: 1}, playLeakedLock},
		{"release-by-anyone", damage{lost: 1}, playReleaseByAnyone},
		{"endless-renewal", damage{stuck: 1}, playEndlessRenewal},
		{"unsorted-locks", damage{stuck: 1}, playUnsortedLocks},
		{"other-connection", damage{lost: 1, stuck: 1}, playOtherConnection},
		{"above-zero", damage{oversold: 1, stuck: 1}, playAboveZero},
		{"unchecked-rows", damage{oversold: 1, lost: 1}, playUncheckedRows},
		{"snapshot-loop", damage{stuck: 1}, playSnapshotLoop},
		{"one-bucket", damage{refused: 1}, playOneBucket},
		{"skip-and-refuse", damage{refused: 1}, playSkipAndRefuse},
		{"lua-twice", damage{refused: 1}, playLuaTwice},
		{"release-in-redis", damage{oversold: 1}, playReleaseInRedis},
		{"warm-up", damage{oversold: 1}, playWarmUp},
	}
}

// makeFlaw makes the flaw on an instance.
func makeFlaw(f flawed.Flaw, prefix string) holder {
	return func(_ *testing.T, i replicatest.Instance) replicatest.Reserver {
		return f.New(flawed.Deps{Ledger: i.Store.Ledger(), DB: i.DB, Locker: i.Locker, Redis: i.Client, Prefix: prefix})
	}
}

// TestFlawed plays every flaw of the gallery and prints the harm it did; then the same with its cure, which must do
// none.
func TestFlawed(t *testing.T) {
	t.Parallel()
	flaws := map[string]flawed.Flaw{}
	for _, f := range flawed.List() {
		flaws[f.Name] = f
	}
	for _, e := range exhibits() {
		f, ok := flaws[e.flaw]
		if !ok {
			t.Fatalf("the gallery has no %s", e.flaw)
		}
		delete(flaws, e.flaw)
		t.Run(e.flaw, func(t *testing.T) {
			t.Parallel()
			w := sceneWorld(t, f, flawLayout(t, f))
			bad := e.play(t, scene{w, f.Name, makeFlaw(f, w.Prefix), false})
			w = sceneWorld(t, f, layoutOf(t, f.Cure))
			good := e.play(t, scene{w, f.Cure, func(t *testing.T, i replicatest.Instance) replicatest.Reserver { return named(t, f.Cure, i) }, true})
			t.Logf("%s: %s", f.Name, f.Fault)
			t.Logf("%-22s %s", f.Name, bad)
			t.Logf("%-22s %s", f.Cure, good)
			if bad.oversold < e.want.oversold || bad.lost < e.want.lost || bad.stuck < e.want.stuck || bad.refused < e.want.refused {
				t.Errorf("%s did not do its harm: %s; want some of %s", f.Name, bad, e.want)
			}
			if good != (damage{}) {
				t.Errorf("%s did harm: %s", f.Cure, good)
			}
			if faults := w.Faults(t); faults != nil {
				t.Errorf("%s broke the ledger: %v", f.Cure, faults)
			}
		})
	}
	for name := range flaws {
		t.Errorf("nobody plays %s", name)
	}
}

// sceneWorld has short leases where the play is about their end, and else long ones.
func sceneWorld(t *testing.T, f flawed.Flaw, layout string) *replicatest.World {
	t.Helper()
	lease := overtaken().lease
	if f.Name == "save-after-expiry" || f.Name == "endless-renewal" {
		lease = slept().lease
	}
	w := replicatest.NewWorld(t, lease...)
	if layout == stock.LayoutRedis {
		w.Open(t)
	}
	w.Lab, w.Layout = true, layout
	return w
}

// flawLayout is where a flaw works: where its cure does, or, with a counter in Redis of its own, on the row.
func flawLayout(t *testing.T, f flawed.Flaw) string {
	t.Helper()
	if layout := layoutOf(t, f.Cure); layout != stock.LayoutRedis {
		return layout
	}
	return stock.LayoutRow
}

// layoutOf is where a strategy of that name works.
func layoutOf(t *testing.T, name string) string {
	t.Helper()
	for _, s := range strategy.List() {
		if s.Name == name {
			return s.Layout
		}
	}
	t.Fatalf("there is no %s", name)
	return ""
}

// TestFlawed_Plausible: alone, every flaw sells as if nothing were wrong, which is how it got through the review; and
// none sells what was not created for the lab.
func TestFlawed_Plausible(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	w.Has(t, "REAL", 10)
	w.Lab = true
	const units = 400 // some in each bucket
	sold := map[string]int64{}
	for _, f := range flawed.List() {
		layout := flawLayout(t, f)
		sku := "LAB-" + strings.ToUpper(layout)
		if _, known := sold[sku]; !known {
			w.Layout = layout
			w.Has(t, sku, units)
			lay(t, w, sku)
		}
		r := makeFlaw(f, w.Prefix)(t, w.One)
		for range 2 {
			sold[sku]++
			if _, err := r.Reserve(replicatest.Soon(t), replicatest.Order(fmt.Sprintf("%s-%d", layout, sold[sku]), "flaw", replicatest.Line(sku, 1))); err != nil {
				t.Errorf("%s: %v", f.Name, err)
			}
		}
		if _, err := r.Reserve(replicatest.Soon(t), replicatest.Order("REAL", "flaw", replicatest.Line("REAL", 1))); !errors.Is(err, stock.ErrLabOnly) {
			t.Errorf("%s on real stock: %v", f.Name, err)
		}
		if err := w.Redis.Del(t.Context(), w.Prefix+"stock:REAL").Err(); err != nil { // the leaked lock's
			t.Fatal(err)
		}
	}
	for sku, n := range sold {
		w.WantLedger(t, sku, units-n, n, 0)
	}
	w.WantLedger(t, "REAL", 10, 0, 0)
}

// stopAt has r reserve and stops it before a statement. goOn lets it go on and returns its result.
func stopAt(ctx context.Context, t *testing.T, i replicatest.Instance, r replicatest.Reserver, request stock.Request, at string) (stopped *replicatest.Stall, goOn func() error) {
	t.Helper()
	stopped = replicatest.StallAt(t, i, at)
	result := replicatest.GoReserve(ctx, r, request)
	stopped.Await(t, result)
	return stopped, func() error {
		close(stopped.Resume)
		return <-result
	}
}

// turn waits until the order has ended or waits for a row that another order has locked. A wait for a lock in Redis is
// not visible, so with the cure turn returns after a while.
func (s scene) turn(t *testing.T, result chan error) (err error, done bool) {
	t.Helper()
	limit := replicatest.Patience
	if s.cure {
		limit = 500 * time.Millisecond
	}
	for end := time.Now().Add(limit); time.Now().Before(end); {
		select {
		case err = <-result:
			return err, true
		case <-time.After(2 * time.Millisecond): // between two looks
		}
		if s.Waiting(t) {
			break
		}
	}
	return nil, false
}

// overlap stops an order of these lines at a statement, lets another one run for as long as it gets anywhere, and then
// lets the first go on.
func overlap(t *testing.T, s scene, at string, lines ...stock.Line) damage {
	t.Helper()
	s.Has(t, "A", 10)
	ctx := replicatest.Soon(t)
	_, goOn := stopAt(ctx, t, s.One, s.at(t, s.One), s.order("FIRST", lines...), at)
	second := replicatest.GoReserve(ctx, s.at(t, s.Two), s.order("SECOND", replicatest.Line("A", 1)))
	err, done := s.turn(t, second)
	firstErr := goOn()
	if !done {
		err = <-second
	}
	if firstErr != nil || err != nil {
		t.Errorf("%s: the first %v, the second %v", s.by, firstErr, err)
	}
	return s.damageTo(t, "A")
}
