package leasecheck_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/dev/leasecheck"
)

// report is what a soak has to show: a run in which nothing went wrong has proved nothing.
type report struct {
	mu               sync.Mutex // guards the two below
	promised, landed map[kind]int

	events            map[string]int
	outcomes          map[leasecheck.Outcome]int
	accepted, unknown int64 // units
	sold, down        int64
}

func (r *report) init() {
	r.promised, r.landed = map[kind]int{}, map[kind]int{}
	r.events, r.outcomes = map[string]int{}, map[leasecheck.Outcome]int{}
}

func (r *report) fault(k kind, landed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.promised[k]++
	if landed {
		r.landed[k]++
	}
}

func (r *report) add(h leasecheck.History) {
	for event, n := range h.Events {
		r.events[event] += n
	}
	for _, op := range h.Ops {
		r.outcomes[op.Outcome]++
		switch op.Outcome {
		case leasecheck.Accepted:
			r.accepted += op.Quantity
		case leasecheck.Unknown:
			r.unknown += op.Quantity
		}
	}
}

// losses are the causes by which a lease can end before its release.
func losses() []string { return []string{"not_renewed", "key_gone", "max_hold"} }

func (r *report) print(t *testing.T, title string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, title)
	count := func(what string, n int) { fmt.Fprintf(&b, "  %-34s %7d\n", what, n) }
	count("acquisitions", r.events[leasecheck.NoteAcquired])
	count("acquisitions without an answer", r.events[leasecheck.NoteUnavailable])
	count("renewals", r.events[leasecheck.NoteRenewed])
	for _, cause := range losses() {
		count("leases lost: "+cause, r.events[leasecheck.NoteLost+cause])
	}
	count("stale claims", r.outcomes[leasecheck.Stale])
	count("counters raised", r.events[leasecheck.NoteRaised])
	count("recoveries", r.events[leasecheck.NoteRecovered])
	count("deductions accepted", r.outcomes[leasecheck.Accepted])
	count("deductions cut, nothing done", r.outcomes[leasecheck.Nothing])
	count("deductions with unknown outcome", r.outcomes[leasecheck.Unknown])
	for _, kinds := range lanes() {
		for _, k := range kinds {
			fmt.Fprintf(&b, "  fault: %-27s %7d of %d\n", k, r.landed[k], r.promised[k])
		}
	}
	fmt.Fprintf(&b, "  units: clients were told of %d, unknown %d; the ledger has %d, the stock went down by %d", r.accepted, r.unknown, r.sold, r.down)
	t.Log(b.String())
}

// judge fails a run whose schedule did not come true: a kind of fault that was promised and never landed, or, once
// every kind has been promised a few times, a consequence that never showed.
func (r *report) judge(t *testing.T) {
	t.Helper()
	all := true
	for _, kinds := range lanes() {
		for _, k := range kinds {
			if r.promised[k] > 0 && r.landed[k] == 0 {
				t.Errorf("%q was promised %d times and never landed", k, r.promised[k])
			}
			all = all && r.promised[k] >= 5
		}
	}
	if r.outcomes[leasecheck.Accepted] == 0 {
		t.Error("nothing was accepted")
	}
	if !all {
		return
	}
	wanted := []string{leasecheck.NoteUnavailable, leasecheck.NoteRenewed, leasecheck.NoteRaised, leasecheck.NoteRecovered}
	for _, cause := range losses() {
		wanted = append(wanted, leasecheck.NoteLost+cause)
	}
	for _, event := range wanted {
		if r.events[event] == 0 {
			t.Errorf("%q never showed", event)
		}
	}
	for _, o := range []leasecheck.Outcome{leasecheck.Stale, leasecheck.Unknown, leasecheck.Nothing} {
		if r.outcomes[o] == 0 {
			t.Errorf("no deduction was %q", o)
		}
	}
}
