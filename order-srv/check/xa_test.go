package check_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/order-srv/check"
)

// TestChecker_branches: a prepared branch is in flight until it is late, and then a violation.
func TestChecker_branches(t *testing.T) {
	t.Parallel()
	const late = 30 * time.Second
	branches := []check.Branch{
		{OrderNo: "1", Side: "orders", Age: time.Second},
		{OrderNo: "2", Side: "inventory", Age: late},
		{OrderNo: "3", Side: "inventory", Age: late + time.Millisecond},
	}
	c := check.New(started, check.NewTotals())
	c.Branches(branches, late)
	c.BranchesAway("inventory", errors.New("it does not answer"))
	r := c.Finish(check.Last{})
	if diff := cmp.Diff("11 3,~11 1,~11 2,~11 branches of inventory", found(r)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(branches, r.Branches); diff != "" {
		t.Errorf("branches in the report (-want +got):\n%s", diff)
	}
	if got, want := r.Violations[0].String(), "invariant 11: 3: has had a prepared branch in inventory for 30s"; got != want {
		t.Errorf("violation %q, want %q", got, want)
	}
}

// TestChecker_decisions compares the log of the flow xa with the orders.
func TestChecker_decisions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, state, decision, status, want string }{
		{"being prepared", "preparing", "", "PENDING", ""},
		{"placed before the decision", "preparing", "", "PLACED", "11 1"},
		{"paid before the decision", "preparing", "", "PAID", "11 1"},
		{"rejected by another replica", "preparing", "", "REJECTED", "~11 1"},
		{"abandoned by another replica", "preparing", "", "ABANDONED", "~11 1"},
		{"being committed", "commit", "commit", "PENDING", "~11 1"},
		{"being aborted", "abort", "abort", "PENDING", "~11 1"},
		{"committed, one branch left", "commit", "commit", "PLACED", "~11 1"},
		{"aborted, one branch left", "abort", "abort", "ABANDONED", "~11 1"},
		{"committed", "done", "commit", "PLACED", ""},
		{"committed, paid since", "done", "commit", "PAID", ""},
		{"committed, expired since", "done", "commit", "EXPIRED", ""},
		{"aborted", "done", "abort", "REJECTED", ""},
		{"aborted by the recovery", "done", "abort", "ABANDONED", ""},
		{"committed, and rejected", "done", "commit", "REJECTED", "11 1"},
		{"committed, and abandoned", "commit", "commit", "ABANDONED", "11 1"},
		{"aborted, and placed", "done", "abort", "PLACED", "11 1"},
		{"aborted, and paid", "abort", "abort", "PAID", "11 1"},
		{"done, and pending", "done", "commit", "PENDING", "11 1"},
		{"done without a decision", "done", "", "PLACED", "11 1"},
		{"committed without an order", "done", "commit", "", "11 1"},
		{"being prepared without an order", "preparing", "", "", "11 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := check.New(started, check.NewTotals())
			c.Decisions([]check.Decision{{OrderNo: "1", State: tt.state, Decision: tt.decision, Status: tt.status}})
			if diff := cmp.Diff(tt.want, found(c.Finish(check.Last{}))); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
}

// TestChecker_decisionWithoutOrder: the text says that the order is missing, and not that its status is empty.
func TestChecker_decisionWithoutOrder(t *testing.T) {
	t.Parallel()
	c := check.New(started, check.NewTotals())
	c.Decisions([]check.Decision{{OrderNo: "1", State: "commit", Decision: "commit"}})
	r := c.Finish(check.Last{})
	const want = `is not in orders, and the log of xa says commit, decided "commit"`
	if len(r.Violations) != 1 || r.Violations[0].Text != want {
		t.Errorf("violations %v, want one: %s", r.Violations, want)
	}
}
