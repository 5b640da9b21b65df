package audit_test

import (
	"testing"
	"time"

	"holdfast/inventory-srv/inventoryapi"
)

// proven returns a world with so many old orders, which an audit has proven, and their numbers.
func proven(t *testing.T, orders int) (*world, []string) {
	t.Helper()
	w := newWorld(t)
	numbers := w.history(orders, time.Hour)
	r := w.mustAudit(false)
	if len(r.Violations)+len(r.Unsettled) != 0 || r.Orders["PAID"] != orders || !r.Full {
		t.Fatalf("the first audit: %+v", r)
	}
	return w, numbers
}

// TestAudit_readsSettledHistoryOnce: the second audit reads what the first has not proven, and reports the same.
func TestAudit_readsSettledHistoryOnce(t *testing.T) {
	t.Parallel()
	const orders = 5500 // five pages and a half
	w, _ := proven(t, orders)
	w.history(3, 50*time.Minute)
	w.history(2, 0)
	w.inventory.read = 0
	r := w.mustAudit(false)
	if len(r.Violations)+len(r.Unsettled) != 0 || r.Orders["PAID"] != orders+5 || r.Full {
		t.Errorf("the second audit: %+v", r)
	}
	if want := 505; w.inventory.read != want { // the first audit's last page was not full
		t.Errorf("the second audit read %d reservations, want %d", w.inventory.read, want)
	}
	if r = w.mustAudit(true); !r.Full || r.Orders["PAID"] != orders+5 || w.inventory.read != 505+orders+5 {
		t.Errorf("a full audit read %d reservations: %+v", w.inventory.read, r)
	}
}

// TestAudit_planted plants violations into proven history and into new history.
func TestAudit_planted(t *testing.T) {
	t.Parallel()
	const orders = 1100 // the first thousand are rolled up
	for name, tt := range map[string]struct {
		plant func(w *world, orderNo string)
		full  bool // only a full audit reads it again
		want  int  // invariant of a finding about the order
	}{
		"released, with its counters": {plant: func(w *world, orderNo string) {
			w.change(orderNo, func(r *inventoryapi.Reservation) { r.Status = inventoryapi.StateReleased })
			w.inventory.entry.Sold--
			w.inventory.entry.Available++
		}, want: 5},
		"released without its counters": {plant: func(w *world, orderNo string) {
			w.change(orderNo, func(r *inventoryapi.Reservation) { r.Status = inventoryapi.StateReleased })
		}, full: true, want: 5},
		"another quantity, with its counters": {plant: func(w *world, orderNo string) {
			w.change(orderNo, func(r *inventoryapi.Reservation) { r.Lines = []inventoryapi.Line{{SKU: "A", Quantity: 2}} })
			w.inventory.entry.Sold++
			w.inventory.entry.Inbound++
		}, want: 5},
		"an order that is gone": {plant: func(w *world, orderNo string) {
			w.exec("DELETE FROM orders WHERE order_no = ?", orderNo)
		}, full: true, want: 5},
		"an order that is not settled": {plant: func(w *world, orderNo string) {
			w.exec("UPDATE orders SET settled_at = NULL WHERE order_no = ?", orderNo)
		}, full: true, want: 7},
	} {
		for _, place := range []string{"old", "new"} {
			t.Run(name+"/"+place, func(t *testing.T) {
				t.Parallel()
				w, numbers := proven(t, orders)
				orderNo := numbers[10]
				if place == "new" {
					orderNo = numbers[orders-10]
				}
				tt.plant(w, orderNo)
				r := w.mustAudit(tt.full && place == "old")
				if found := append(r.Violations, r.Unsettled...); !about(found, tt.want, orderNo) {
					t.Errorf("found %v, want invariant %d of %s", found, tt.want, orderNo)
				}
			})
		}
	}
}

// TestAudit_unsettledStopsTheRollUp: an order that is not settled keeps those after it from being rolled up, until it
// is settled.
func TestAudit_unsettledStopsTheRollUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	numbers := w.history(3000, time.Hour)
	w.exec("UPDATE orders SET settled_at = NULL WHERE order_no = ?", numbers[1500])
	if r := w.mustAudit(false); !about(r.Unsettled, 7, numbers[1500]) {
		t.Errorf("unsettled: %v", r.Unsettled)
	}
	if r, err := w.store.RolledUp(t.Context()); err != nil || r.Cutoff != numbers[999] || w.inventory.cutoff != r.Cutoff {
		t.Errorf("rolled up to %s, at inventory to %s, want %s; error %v", r.Cutoff, w.inventory.cutoff, numbers[999], err)
	}
	w.exec("UPDATE orders SET settled_at = UTC_TIMESTAMP(6) WHERE order_no = ?", numbers[1500])
	if r := w.mustAudit(false); len(r.Unsettled) != 0 || r.Orders["PAID"] != 3000 {
		t.Errorf("settled: %+v", r)
	}
	if r, err := w.store.RolledUp(t.Context()); err != nil || r.Cutoff != numbers[2999] {
		t.Errorf("rolled up to %s, want %s; error %v", r.Cutoff, numbers[2999], err)
	}
}

// TestAudit_inventoryCatchesUp: an audit that died between the two roll-ups leaves inventory's behind, and the next one
// moves it.
func TestAudit_inventoryCatchesUp(t *testing.T) {
	t.Parallel()
	w, numbers := proven(t, 1100)
	w.inventory.cutoff, w.inventory.rolled = "", 0
	if r := w.mustAudit(false); r.Full || len(r.Violations) != 0 || w.inventory.cutoff != numbers[999] {
		t.Errorf("inventory's cut-off is %q, want %s; report %+v", w.inventory.cutoff, numbers[999], r)
	}
}

// TestAudit_youngHistoryIsNotRolledUp: an order that is seconds old may have an older neighbour whose row is being
// inserted.
func TestAudit_youngHistoryIsNotRolledUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.history(1500, 30*time.Second)
	w.mustAudit(false)
	if r, err := w.store.RolledUp(t.Context()); err != nil || r.Cutoff != "" {
		t.Errorf("rolled up to %q, error %v", r.Cutoff, err)
	}
}

// TestAudit_lastingViolation: a difference that the proof of all history has found as well does not make each audit
// read everything, and one that changes does.
func TestAudit_lastingViolation(t *testing.T) {
	t.Parallel()
	w, _ := proven(t, 2500)
	lost := func(units int64) { // as a strategy loses updates
		w.inventory.entry.Sold -= units
		w.inventory.entry.Available += units
	}
	lost(1)
	for _, tt := range []struct {
		name string
		then func()
		full bool
	}{
		{"at first", func() {}, true},
		{"the same", func() {}, false},
		{"the same while the shop sells", func() { w.history(3, 50*time.Minute) }, false},
		{"one more", func() { lost(1) }, true},
		{"the same two", func() {}, false},
		{"mended", func() { lost(-2) }, false},
	} {
		tt.then()
		w.inventory.read = 0
		r := w.mustAudit(false)
		if found := about(r.Violations, 2, "A"); r.Full != tt.full || found != (tt.name != "mended") {
			t.Errorf("%s: full %v, want %v; violations %v", tt.name, r.Full, tt.full, r.Violations)
		}
		if !tt.full && w.inventory.read > 600 {
			t.Errorf("%s: %d reservations were read", tt.name, w.inventory.read)
		}
	}
}
