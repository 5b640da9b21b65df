package check_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/order-srv/check"
)

// TestSort: findings are ordered by invariant as a number and then by subject, and those of one subject keep their
// order.
func TestSort(t *testing.T) {
	t.Parallel()
	vs := []check.Violation{
		{Invariant: 11, Subject: "A"},
		{Invariant: 2, Subject: "B", Text: "first"},
		{Invariant: 2, Subject: "A"},
		{Invariant: 2, Subject: "B", Text: "second"},
		{Invariant: 1, Subject: "Z"},
	}
	check.Sort(vs)
	want := []check.Violation{
		{Invariant: 1, Subject: "Z"},
		{Invariant: 2, Subject: "A"},
		{Invariant: 2, Subject: "B", Text: "first"},
		{Invariant: 2, Subject: "B", Text: "second"},
		{Invariant: 11, Subject: "A"},
	}
	if diff := cmp.Diff(want, vs); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestChecker_base: the totals of settled history count in the report, and the checker does not change the caller's.
func TestChecker_base(t *testing.T) {
	t.Parallel()
	base := check.Totals{Orders: map[string]int{"PAID": 3}, Promised: map[string]int64{"A": 3, "B": 0}}
	c := check.New(started, base)
	c.Page(check.Page{
		ReadAt:       started,
		Orders:       []check.Order{{OrderNo: "1", Status: "PAID", Settled: true, Lines: map[string]int64{"A": 2}}},
		Reservations: []check.Reservation{{OrderNo: "1", Status: "confirmed", Lines: map[string]int64{"A": 2}}},
	})
	r := c.Finish(check.Last{Ledger: check.Ledger{SKUs: []check.SKU{{SKU: "A", Inbound: 4, Sold: 4, LinesConfirmed: 4}}}})
	if diff := cmp.Diff("~3 A", found(r)); diff != "" {
		t.Errorf("five units are promised and four came in; found (-want +got):\n%s", diff)
	}
	if r.SKUs[0].Oversold != 1 || r.Orders["PAID"] != 4 {
		t.Errorf("oversold %d, paid %d; want 1 and 4", r.SKUs[0].Oversold, r.Orders["PAID"])
	}
	want := check.Totals{Orders: map[string]int{"PAID": 3}, Promised: map[string]int64{"A": 3, "B": 0}}
	if diff := cmp.Diff(want, base); diff != "" {
		t.Errorf("the caller's totals have changed (-want +got):\n%s", diff)
	}
}

// TestReport_json: a report travels from order-srv to the audit as JSON and arrives as it was. A clean one has empty
// lists, which a reader in another language can count.
func TestReport_json(t *testing.T) {
	t.Parallel()
	c := check.New(started, check.NewTotals())
	c.Branches([]check.Branch{{OrderNo: "1", Side: "orders", Age: time.Minute, Locks: []string{"stock A"}}}, time.Second)
	c.Wallets([]check.Wallet{{User: "ann", Available: -1}})
	want := c.Finish(check.Last{
		Ledger:   check.Ledger{SKUs: []check.SKU{{SKU: "A", Inbound: 1}}, Losses: []check.Loss{{Operations: 2, NoticedAt: started}}},
		Messages: check.Messages{Unsent: 3, OldestUnsent: time.Second},
		Healed:   []check.Healing{{OrderNo: "2", Healer: "sweeper", Action: "expired", At: started}},
	})
	sent, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got check.Report
	if err := json.Unmarshal(sent, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the report (-sent +received):\n%s", diff)
	}
	clean, err := json.Marshal(check.New(started, check.NewTotals()).Finish(check.Last{}))
	if err != nil {
		t.Fatal(err)
	}
	var lists map[string]json.RawMessage
	if err := json.Unmarshal(clean, &lists); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"violations", "unsettled", "lost", "losses"} {
		if string(lists[name]) != "[]" {
			t.Errorf("%s of a clean report is %s, want []", name, lists[name])
		}
	}
}
