package history_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"holdfast/internal/lab/history"
)

// moment is an event of the oracle: a change of the free units at one moment within its bounds, or a refusal, which
// needs fewer free units than short.
type moment struct{ from, to, change, short int }

// unbounded is the end of an event that may have happened at any later time.
const unbounded = 1 << 30

// explained tries every order of the events. It is the definition of a correct counter, without any cleverness of the
// check.
func explained(free int, events []moment) bool {
	tried := map[int]bool{}
	var from func(done, free int) bool
	from = func(done, free int) bool {
		if done == 1<<len(events)-1 {
			return true
		}
		if tried[done] {
			return false
		}
		tried[done] = true
		for i, e := range events {
			if done&(1<<i) != 0 || free+e.change < 0 || e.short > 0 && free >= e.short {
				continue
			}
			late := false // another event must come before it
			for j, other := range events {
				late = late || done&(1<<j) == 0 && other.to < e.from
			}
			if !late && from(done|1<<i, free+e.change) {
				return true
			}
		}
		return false
	}
	return from(0, free)
}

// drawn returns a random history of at most five orders of one SKU, and its events. No two times are equal.
func drawn(r *rand.Rand) (s *scenario, units int, events []moment) {
	units = 1 + r.IntN(3)
	s = newScenario("A", int64(units))
	times := r.Perm(40)
	interval := func() (from, to int) {
		from, to = min(times[0], times[1]), max(times[0], times[1])
		times = times[2:]
		return from, to
	}
	rest := times[len(times)-1]
	if r.IntN(2) == 0 {
		s.atRest = append(s.atRest, at(float64(rest)))
	} else {
		rest = -1
	}
	for i := range 2 + r.IntN(4) {
		key, n := fmt.Sprintf("o%d", i), 1+r.IntN(2)
		from, to := interval()
		switch r.IntN(6) {
		case 0, 1:
			s.order(key, float64(from), float64(to), history.No, int64(n), "REJECTED", "")
			events = append(events, moment{from, to, 0, n})
		case 2: // the answer is lost, so the units were taken at any time from then on
			s.order(key, float64(from), float64(to), history.Unknown, int64(n), "PLACED", "reserved")
			events = append(events, moment{from, unbounded, -n, 0})
		case 3:
			s.order(key, float64(from), float64(to), history.Yes, int64(n), "PLACED", "reserved")
			events = append(events, moment{from, to, -n, 0})
		default:
			begun, done := interval()
			if begun < to { // an order is cancelled after its answer
				begun, done = to+40, to+80
			}
			s.order(key, float64(from), float64(to), history.Yes, int64(n), "CANCELLED", "released")
			s.settle(history.Cancel, key, float64(begun), float64(done), history.Yes)
			back := moment{begun, unbounded, n, 0}
			if rest > done {
				back.to = rest
			}
			events = append(events, moment{from, to, -n, 0}, back)
		}
	}
	return s, units, events
}

// left returns how many units are free after all events.
func left(free int, events []moment) int {
	for _, e := range events {
		free += e.change
	}
	return free
}

// TestCheck_agreesWithEveryOrder compares the check with the oracle: it must refute exactly the histories that no order
// of the events explains.
func TestCheck_agreesWithEveryOrder(t *testing.T) {
	t.Parallel()
	count := map[bool]int{}
	for seed := range uint64(4000) {
		s, units, events := drawn(rand.New(rand.NewPCG(seed, 2)))
		if left(units, events) < 0 {
			continue // the ledger alone shows it, and package check reports it
		}
		f := s.check()
		want := explained(units, events)
		if got := len(f.Violations) == 0; got != want || len(f.Undecided) != 0 {
			t.Fatalf("seed %d: accepted %v, want %v: %v %v\n%d units, %+v", seed, got, want, f.Violations, f.Undecided, units, events)
		}
		for _, v := range f.Violations {
			if v.Invariant != 3 && v.Invariant != 4 {
				t.Fatalf("seed %d: every answer is true, and the check found %v", seed, v)
			}
		}
		count[want]++
	}
	if count[true] < 500 || count[false] < 500 {
		t.Errorf("%d correct and %d wrong histories prove little", count[true], count[false])
	}
}
