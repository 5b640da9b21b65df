package httpapi_test

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/inventory-srv/inventoryapi"
)

// TestAPI_Reservations_Gathered has one call bring many orders to a strategy that gathers: they become one transaction.
// If each of them joined the queue alone, the first would start a transaction, and the others would wait for it.
func TestAPI_Reservations_Gathered(t *testing.T) {
	t.Parallel()
	const orders = inventoryapi.MaxOrdersPerCall
	registry := prometheus.NewRegistry()
	s := newServiceOf(t, "group-commit", false, registry)
	s.has(t, "A", orders)
	call := make([]inventoryapi.ReserveOrder, orders)
	for i := range call {
		call[i] = order(fmt.Sprintf("ORDER-%d", i), "A", 1)
	}
	results, err := s.Reserve(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Receipt == nil || r.Receipt.OrderNo != call[i].OrderNo {
			t.Fatalf("order %d: %+v", i, r)
		}
	}
	flushes, calls := gathered(t, registry)
	if calls != orders || flushes != 1 {
		t.Errorf("%d orders were reserved in %d flushes", calls, flushes)
	}
}

// gathered returns how many flushes there were and how many calls they had.
func gathered(t *testing.T, registry *prometheus.Registry) (flushes, calls int) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "stock_batch_calls" {
			continue
		}
		for _, m := range f.GetMetric() {
			flushes += int(m.GetHistogram().GetSampleCount())
			calls += int(m.GetHistogram().GetSampleSum())
		}
	}
	return flushes, calls
}
