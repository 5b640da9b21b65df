package history_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"holdfast/internal/lab/history"
)

// simulated returns the history of a correct counter with many buyers. Each event happens at one moment, and the
// client sees an interval around it. Buyers return the units of half of the orders.
func simulated(seed uint64, buyers int, units int64) *scenario {
	r := rand.New(rand.NewPCG(seed, 1))
	s := newScenario("A", units)
	free, now, open := units, 0.0, []string{}
	around := func() (from, to float64) { return now - r.Float64()*50, now + r.Float64()*50 }
	for i := range buyers {
		now++
		key := fmt.Sprintf("o%d", i)
		from, to := around()
		n := 1 + r.Int64N(2)
		if free < n {
			s.order(key, from, to, history.No, n, "REJECTED", "")
		} else {
			free -= n
			s.order(key, from, to, history.Yes, n, "PLACED", "reserved")
			open = append(open, key)
		}
		if len(open) > 0 && r.IntN(2) == 0 { // an order is cancelled now; the request began earlier
			k := r.IntN(len(open))
			for j, o := range s.after.Orders {
				if o.OrderNo == open[k] {
					s.after.Orders[j].Status = "CANCELLED"
					free += o.Lines["A"]
				}
			}
			for j := range s.after.Reservations {
				if s.after.Reservations[j].OrderNo == open[k] {
					s.after.Reservations[j].Status = "released"
				}
			}
			s.settle(history.Cancel, open[k], now-r.Float64()*20, now, history.Yes)
			open = append(open[:k], open[k+1:]...)
		}
	}
	return s
}

// Every correct history must be accepted, and the search must end within its budget with hundreds of buyers, a hundred
// of them concurrent.
func TestCheck_acceptsRightHistories(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		f := simulated(seed, 400, 60).check()
		if got := found(f); got != "" {
			t.Errorf("seed %d: %s %v %v", seed, got, f.Violations, f.Undecided)
		}
		if f.Searched != 1 {
			t.Errorf("seed %d: searched %d SKUs, want 1", seed, f.Searched)
		}
	}
}

// unexplained returns a history that passes the quick checks but that no order of events explains: one unit, and two
// answers, each of which alone could be correct. The refusal requires that the unit was taken before second 1. Then no
// unit is left for the buyer who was served after second 5.
func unexplained() *scenario {
	s := newScenario("A", 1)
	s.order("o1", 0, 20, history.Yes, 1, "CANCELLED", "released")
	s.settle(history.Cancel, "o1", 21, 22, history.Yes)
	s.refused("o2", 0, 1)
	s.order("o3", 5, 6, history.Yes, 1, "CANCELLED", "released")
	s.settle(history.Cancel, "o3", 10, 11, history.Yes)
	return s
}

func TestCheck_refutesWhatNoOrderExplains(t *testing.T) {
	t.Parallel()
	f := unexplained().check()
	if got := found(f); got != "4 A" {
		t.Errorf("found %q, want the violation of A\n%v %v", got, f.Violations, f.Undecided)
	}
}

// Thirty takes and thirty returns that can be exchanged must not hide the violation: one order of them is sufficient.
func TestCheck_refutesAmongManyAlike(t *testing.T) {
	t.Parallel()
	s := unexplained()
	s.after.SKUs[0].Inbound += 30
	for i := range 30 {
		key := fmt.Sprintf("alike%d", i)
		s.order(key, -2, -1, history.Yes, 1, "CANCELLED", "released")
		s.settle(history.Cancel, key, 30, 31, history.Yes)
	}
	if got := found(s.check()); got != "4 A" {
		t.Errorf("found %q, want the violation of A", got)
	}
}

// A wrong history with too many possible orders is undecided. It must be neither accepted nor refuted without proof.
func TestCheck_saysWhenItIsUndecided(t *testing.T) {
	t.Parallel()
	s := unexplained()
	for i := range 40 { // all quantities differ, so each of the 2^40 subsets is a state of its own
		s.order(fmt.Sprintf("big%d", i), -1, 100, history.No, int64(100+i), "REJECTED", "")
	}
	if got := found(s.check()); got != "?" {
		t.Errorf("found %q, want it undecided", got)
	}
}
