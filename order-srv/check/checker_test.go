package check_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/order-srv/check"
)

// TestChecker_pages: pages are joined by order number, and only a page of settled history without a finding is settled.
func TestChecker_pages(t *testing.T) {
	t.Parallel()
	early := started.Add(-time.Hour)
	lines := map[string]int64{"A": 1}
	paid := func(no string) check.Order {
		return check.Order{OrderNo: no, Status: "PAID", Settled: true, Lines: lines}
	}
	confirmed := func(no string) check.Reservation {
		return check.Reservation{OrderNo: no, Status: "confirmed", CreatedAt: early, Lines: lines}
	}
	for name, tt := range map[string]struct {
		page    check.Page
		settled bool
		want    string // in the format of found
	}{
		"settled": {check.Page{
			Orders:       []check.Order{paid("1"), {OrderNo: "2", Status: "REJECTED", Settled: true}, paid("3")},
			Reservations: []check.Reservation{confirmed("1"), confirmed("3")},
		}, true, ""},
		"a tombstone without an order": {check.Page{
			Orders:       []check.Order{paid("2")},
			Reservations: []check.Reservation{{OrderNo: "1", Status: "void"}, confirmed("2"), {OrderNo: "3", Status: "void"}},
		}, true, ""},
		"orphans before, between and after": {check.Page{
			Orders:       []check.Order{paid("2"), paid("4")},
			Reservations: []check.Reservation{confirmed("1"), confirmed("2"), confirmed("3"), confirmed("4"), confirmed("5")},
		}, false, "5 1,5 3,5 5"},
		"no reservation": {check.Page{
			Orders: []check.Order{paid("1"), paid("2")}, Reservations: []check.Reservation{confirmed("2")},
		}, false, "5 1"},
		"placed": {check.Page{
			Orders:       []check.Order{{OrderNo: "1", Status: "PLACED", Lines: lines}},
			Reservations: []check.Reservation{{OrderNo: "1", Status: "reserved", Lines: lines}},
		}, false, ""},
		"not settled": {check.Page{
			Orders: []check.Order{{OrderNo: "1", Status: "PAID", Lines: lines}}, Reservations: []check.Reservation{confirmed("1")},
		}, false, "~7 1"},
		"a live order that freed its key": {check.Page{
			Orders:       []check.Order{{OrderNo: "1", Status: "PAID", Settled: true, Freed: true, Lines: lines}},
			Reservations: []check.Reservation{confirmed("1")},
		}, false, ""},
		"another order with its key": {check.Page{
			Orders: []check.Order{paid("1")}, Reservations: []check.Reservation{confirmed("1")},
			SameKey: map[string]check.Order{"1": {OrderNo: "9", Status: "PLACED"}},
		}, false, "5 1"},
		"lines are not written before it is placed": {check.Page{
			Orders:       []check.Order{{OrderNo: "1", Status: "PENDING"}},
			Reservations: []check.Reservation{{OrderNo: "1", Status: "reserved", Lines: lines}},
		}, false, "~7 1"},
	} {
		base := check.Totals{Orders: map[string]int{"PAID": 10}, Promised: map[string]int64{"A": 10}}
		c := check.New(started, base)
		tt.page.ReadAt = started
		sums, settled := c.Page(tt.page)
		if settled != tt.settled {
			t.Errorf("%s: settled is %v", name, settled)
		}
		base.Add(sums)
		stock := base.Promised["A"]
		r := c.Finish(check.Last{Ledger: check.Ledger{SKUs: []check.SKU{{SKU: "A", Inbound: stock, Sold: stock, LinesConfirmed: stock}}}})
		if diff := cmp.Diff(tt.want, found(r)); diff != "" {
			t.Errorf("%s: found (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(base.Orders, r.Orders); diff != "" {
			t.Errorf("%s: orders (-base and page +report):\n%s", name, diff)
		}
	}
}

// TestChecker_strays: an order that is in the queue and not PENDING is a violation.
func TestChecker_strays(t *testing.T) {
	t.Parallel()
	r := check.New(started, check.NewTotals()).Finish(check.Last{Strays: []string{"1"}})
	if diff := cmp.Diff("8 1", found(r)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

// TestChecker_boundsFindings: a report does not grow with the number of findings.
func TestChecker_boundsFindings(t *testing.T) {
	t.Parallel()
	c := check.New(started, check.NewTotals())
	const more = 7
	for n := range check.MaxFindings + more {
		no := fmt.Sprintf("%08d", n)
		c.Page(check.Page{Orders: []check.Order{{OrderNo: no, Status: "PENDING"}}})
		c.Page(check.Page{Orders: []check.Order{{OrderNo: no + "-", Status: "PAID", Settled: true}}})
	}
	r := c.Finish(check.Last{})
	if len(r.Unsettled) != check.MaxFindings || len(r.Violations) != check.MaxFindings || r.Unlisted != 2*more {
		t.Errorf("%d unsettled, %d violations, %d not listed", len(r.Unsettled), len(r.Violations), r.Unlisted)
	}
}
