package recovery_test

import (
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/recovery"
)

// everyPage runs one round over all of inventory's reservations.
func (w *world) everyPage(h *recovery.Healer) {
	w.t.Helper()
	w.Inventory.Set("ZZZZZZZZZZZZZZZZZZZZZZZZZZ", inventoryapi.StateVoid) // the last page is never empty
	for range 20 {
		w.must(h.ReleaseUnknown)
	}
}

func TestHealer_ReleaseUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	unknown := func(state string, age time.Duration) string {
		no := ulid.Make().String()
		w.Inventory.Set(no, state)
		w.Inventory.SetAge(no, age)
		return no
	}
	ofOrder := func(no, state string) string {
		w.Inventory.Set(no, state)
		w.Inventory.SetAge(no, 2*time.Hour)
		return no
	}
	settled := w.ended(order.Cancelled)
	if _, err := w.Orders.Settle(t.Context(), order.Cancelled, []string{settled}); err != nil {
		t.Fatal(err)
	}
	slowClock := "00000000000000000000000001" // by its number it is old
	w.Inventory.Set(slowClock, inventoryapi.StateReserved)
	fastClock := "7ZZZZZZZZZ0000000000000000" // by its number it is from the future
	w.Inventory.Set(fastClock, inventoryapi.StateReserved)
	w.Inventory.SetAge(fastClock, 2*time.Hour)
	want := map[string]string{
		slowClock: inventoryapi.StateReserved,
		fastClock: inventoryapi.StateReleased,
		unknown(inventoryapi.StateReserved, 2*time.Hour):    inventoryapi.StateReleased,
		unknown(inventoryapi.StateReserved, 50*time.Minute): inventoryapi.StateReserved,
		unknown(inventoryapi.StateConfirmed, 2*time.Hour):   inventoryapi.StateConfirmed,
		ofOrder(settled, inventoryapi.StateReserved):        inventoryapi.StateReleased,
		ofOrder(w.pending(), inventoryapi.StateReserved):    inventoryapi.StateReserved,
		ofOrder(w.placed(), inventoryapi.StateReserved):     inventoryapi.StateReserved,
		ofOrder(w.ended(order.Paid), "confirmed"):           inventoryapi.StateConfirmed,
		ofOrder(w.ended(order.Cancelled), "reserved"):       inventoryapi.StateReserved, // its message may be on its way
	}
	other := w.replica()
	var both sync.WaitGroup
	for _, h := range []*recovery.Healer{w.Healer, other} {
		both.Go(func() { w.everyPage(h) })
	}
	both.Wait()
	for no, state := range want {
		if got := w.Inventory.State(no); got != state {
			t.Errorf("the reservation of %s is %s, want %s", no, got, state)
		}
	}
	if got := w.count("reconciler"); got != 3 {
		t.Errorf("the reconciler healed %v, want 3", got)
	}
	if got := testutil.ToFloat64(w.alarms); got != 1 {
		t.Errorf("%v alarms for the confirmed reservation without an order, want 1", got)
	}
	healings, err := w.Orders.Healings(t.Context(), 10)
	if err != nil || len(healings) != 4 {
		t.Errorf("healings %+v, error %v; want 3 releases and 1 report", healings, err)
	}
}

// TestHealer_ReleaseUnknown_inventoryDown: the page that could not be read is read again, not skipped.
func TestHealer_ReleaseUnknown_inventoryDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	no := ulid.Make().String()
	w.Inventory.Set(no, inventoryapi.StateReserved)
	w.Inventory.SetAge(no, 2*time.Hour)
	w.Inventory.SetDown(true)
	if err := w.ReleaseUnknown(t.Context()); err == nil {
		t.Error("no error though inventory is down")
	}
	w.Inventory.SetDown(false)
	w.must(w.ReleaseUnknown)
	if got := w.Inventory.State(no); got != inventoryapi.StateReleased {
		t.Errorf("the reservation is %s", got)
	}
}

// TestHealer_ReleaseUnknown_archive: the confirmed reservation of an archived order is no alarm, and what an audit has
// proven is not read.
func TestHealer_ReleaseUnknown_archive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proven, archived, absent := ordertest.OldNumber(100*24*time.Hour), ordertest.OldNumber(99*24*time.Hour), ordertest.OldNumber(2*time.Hour)
	for _, no := range []string{proven, archived, absent} {
		w.Inventory.Set(no, inventoryapi.StateConfirmed)
		w.Inventory.SetAge(no, 2*time.Hour)
	}
	for _, query := range []string{
		"UPDATE audit_rollup SET cutoff = '" + proven + "'",
		"INSERT INTO orders_archive (order_no, group_id, user_id, status, flow, created_at, updated_at, settled_at) VALUES ('" + archived +
			"', '', 'ann', 'PAID', 'test', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))",
	} {
		if err := w.DB.Exec(query).Error; err != nil {
			t.Fatal(err)
		}
	}
	w.everyPage(w.Healer)
	healings, err := w.Orders.Healings(t.Context(), 10)
	if err != nil || len(healings) != 1 || healings[0].OrderNo != absent {
		t.Errorf("healings %+v, error %v; want a report of %s alone", healings, err, absent)
	}
	if got := testutil.ToFloat64(w.alarms); got != 1 {
		t.Errorf("%v alarms, want 1", got)
	}
}
