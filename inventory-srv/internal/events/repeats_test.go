package events_test

import (
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/inventory-srv/internal/events"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/order-srv/orderapi"
)

// TestConsumers_StockRelease_repeats counts the deliveries that find their order released, and not the attempts that
// failed.
func TestConsumers_StockRelease_repeats(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	e := &ender{fails: map[string]error{}}
	consumers := events.New(e, slog.New(slog.DiscardHandler), registry)
	deliver := func(want int, orders ...string) {
		t.Helper()
		// Its verdict is another test's.
		_ = consumers.StockRelease(t.Context(), message(t, orderapi.StockRelease{Orders: orders}))
		if got := repeats(t, registry); got != want {
			t.Errorf("after %v: %d repeats, want %d", orders, got, want)
		}
	}
	deliver(0, "A")
	deliver(0, "B")
	deliver(1, "A", "C")
	e.fails["D"] = stock.ErrContended
	deliver(1, "D")
	deliver(1, "D")
	delete(e.fails, "D")
	deliver(1, "D")
	deliver(2, "D")
}

func repeats(t *testing.T, registry *prometheus.Registry) int {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "stock_release_repeats_total" {
			return int(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	t.Fatal("the metric is not registered")
	return 0
}
