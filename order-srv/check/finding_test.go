package check_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/order-srv/check"
)

// TestRun_letters: a message that was given up is a violation of its order, or of the shop if its key is no order
// number.
func TestRun_letters(t *testing.T) {
	t.Parallel()
	l, o, res := shop()
	r, err := check.Run(check.Input{
		Started: started, Orders: seq(o, nil), Reservations: seq(res, nil),
		Ledger: func() (check.Ledger, error) { return check.Ledger{SKUs: l}, nil },
		Letters: check.Letters{Found: []check.Letter{
			{Source: "outbox", Topic: "order-events", Key: "2", Reason: "too large", Lines: map[string]int64{"A": 2}},
			{Source: "inventory-release", Topic: "stock-release", Key: "3", Lines: map[string]int64{"A": 3}},
			{Source: "order-timeout", Topic: "order-timeout", Key: "unknown"},
		}, Err: errors.New("broker not reachable")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("7 2,7 3,7 dead letters,~7 dead letters", found(r)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if v := r.Violations[0]; !v.Concerns("A") || v.Concerns("B") {
		t.Errorf("the message of order 2, which is for A: %+v", v)
	}
	if v := r.Violations[2]; !v.Concerns("A") || !v.Concerns("B") {
		t.Errorf("a message that may concern any product: %+v", v)
	}
}

// TestRun_namesSKUs: each finding about an order, a reservation or a SKU lists the SKUs that it concerns.
func TestRun_namesSKUs(t *testing.T) {
	t.Parallel()
	l, o, res := shop()
	l[0].Available--
	o[0].ExpiresAt = started.Add(-time.Hour)
	o[1].Settled = false
	res[2].Status = "reserved"
	o = append(o, check.Order{OrderNo: "5", Status: "PLACED", Lines: map[string]int64{"B": 1, "A": 1}})
	res = append(res, check.Reservation{OrderNo: "Z", Status: "reserved", CreatedAt: started.Add(-time.Hour), Lines: map[string]int64{"C": 1}})
	r := run(t, l, o, res, 0)
	got := map[string][]string{}
	for _, v := range slices.Concat(r.Violations, r.Unsettled) {
		got[v.Subject] = v.SKUs
	}
	want := map[string][]string{"A": {"A"}, "B": {"B"}, "1": {"A"}, "2": {"A"}, "3": {"A"}, "5": {"A", "B"}, "Z": {"C"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("SKUs by subject (-want +got):\n%s", diff)
	}
}
