package strategy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/inventory-srv/internal/flawed"
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
	*world
	by   string
	make holder
	cure bool // what is played is the cure
}

func (s scene) at(t *testing.T, i instance) reserver { return s.make(t, i) }

func (s scene) order(no string, lines ...stock.Line) stock.Request { return order(no, s.by, lines...) }

// damageTo sums up what the ledger shows of one SKU.
func (s scene) damageTo(t *testing.T, sku string) damage {
	t.Helper()
	e := s.entry(t, sku)
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
	return func(_ *testing.T, i instance) reserver {
		return f.New(flawed.Deps{Ledger: i.store.Ledger(), DB: i.db, Locker: i.locker, Redis: i.client, Prefix: prefix})
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
			bad := e.play(t, scene{w, f.Name, makeFlaw(f, w.prefix), false})
			w = sceneWorld(t, f, layoutOf(t, f.Cure))
			good := e.play(t, scene{w, f.Cure, func(t *testing.T, i instance) reserver { return named(t, f.Cure, i) }, true})
			t.Logf("%s: %s", f.Name, f.Fault)
			t.Logf("%-22s %s", f.Name, bad)
			t.Logf("%-22s %s", f.Cure, good)
			if bad.oversold < e.want.oversold || bad.lost < e.want.lost || bad.stuck < e.want.stuck || bad.refused < e.want.refused {
				t.Errorf("%s did not do its harm: %s; want some of %s", f.Name, bad, e.want)
			}
			if good != (damage{}) {
				t.Errorf("%s did harm: %s", f.Cure, good)
			}
			if faults := w.faults(t); faults != nil {
				t.Errorf("%s broke the ledger: %v", f.Cure, faults)
			}
		})
	}
	for name := range flaws {
		t.Errorf("nobody plays %s", name)
	}
}

// sceneWorld has short leases where the play is about their end, and else long ones.
func sceneWorld(t *testing.T, f flawed.Flaw, layout string) *world {
	t.Helper()
	lease := overtaken().lease
	if f.Name == "save-after-expiry" || f.Name == "endless-renewal" {
		lease = slept().lease
	}
	w := newWorld(t, lease...)
	if layout == stock.LayoutRedis {
		w.open(t)
	}
	w.lab, w.layout = true, layout
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
	w := newWorld(t)
	w.has(t, "REAL", 10)
	w.lab = true
	const units = 400 // some in each bucket
	sold := map[string]int64{}
	for _, f := range flawed.List() {
		layout := flawLayout(t, f)
		sku := "LAB-" + strings.ToUpper(layout)
		if _, known := sold[sku]; !known {
			w.layout = layout
			w.has(t, sku, units)
			w.lay(t, sku)
		}
		r := makeFlaw(f, w.prefix)(t, w.one)
		for range 2 {
			sold[sku]++
			if _, err := r.Reserve(soon(t), order(fmt.Sprintf("%s-%d", layout, sold[sku]), "flaw", line(sku, 1))); err != nil {
				t.Errorf("%s: %v", f.Name, err)
			}
		}
		if _, err := r.Reserve(soon(t), order("REAL", "flaw", line("REAL", 1))); !errors.Is(err, stock.ErrLabOnly) {
			t.Errorf("%s on real stock: %v", f.Name, err)
		}
		if err := w.redis.Del(t.Context(), w.prefix+"stock:REAL").Err(); err != nil { // the leaked lock's
			t.Fatal(err)
		}
	}
	for sku, n := range sold {
		w.wantLedger(t, sku, units-n, n, 0)
	}
	w.wantLedger(t, "REAL", 10, 0, 0)
}

// stopAt has r reserve and stops it before a statement. goOn lets it go on and returns its result.
func stopAt(ctx context.Context, t *testing.T, i instance, r reserver, request stock.Request, at string) (stopped *stall, goOn func() error) {
	t.Helper()
	stopped = stallAt(t, i, at)
	result := goReserve(ctx, r, request)
	stopped.await(t, result)
	return stopped, func() error {
		close(stopped.resume)
		return <-result
	}
}

// turn waits until the order has ended or waits for a row that another order has locked. A wait for a lock in Redis is
// not visible, so with the cure turn returns after a while.
func (s scene) turn(t *testing.T, result chan error) (err error, done bool) {
	t.Helper()
	limit := patience
	if s.cure {
		limit = 500 * time.Millisecond
	}
	for end := time.Now().Add(limit); time.Now().Before(end); {
		select {
		case err = <-result:
			return err, true
		case <-time.After(2 * time.Millisecond): // between two looks
		}
		if s.waiting(t) {
			break
		}
	}
	return nil, false
}

// overlap stops an order of these lines at a statement, lets another one run for as long as it gets anywhere, and then
// lets the first go on.
func overlap(t *testing.T, s scene, at string, lines ...stock.Line) damage {
	t.Helper()
	s.has(t, "A", 10)
	ctx := soon(t)
	_, goOn := stopAt(ctx, t, s.one, s.at(t, s.one), s.order("FIRST", lines...), at)
	second := goReserve(ctx, s.at(t, s.two), s.order("SECOND", line("A", 1)))
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
