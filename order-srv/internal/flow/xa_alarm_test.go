package flow_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/store"
)

// decided leaves an order with both branches prepared and a decision, of which the coordinator died long ago.
func decided(w *world, key string, decision store.XAState) string {
	w.t.Helper()
	no := inserted(w, key)
	prepareBoth(w, no)
	if won, err := w.Orders.DecideXA(w.t.Context(), no, decision, 0); !won || err != nil {
		w.t.Fatalf("decide: %v, %v", won, err)
	}
	if err := w.DB.Exec("UPDATE xa_log SET open_since = TIMESTAMPADD(MINUTE, -1, open_since) WHERE gtrid = ?", no).Error; err != nil {
		w.t.Fatal(err)
	}
	return no
}

func alarms(t *testing.T, registry *prometheus.Registry) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "order_xa_alarms_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("there is no order_xa_alarms_total")
	return 0
}

// TestXA_alarm: an order that no pass of the recovery can end is logged once, and again after pauses that grow, by
// itself. Without that each pass, one a second, would log it.
func TestXA_alarm(t *testing.T) {
	t.Parallel()
	w := newXAWorld(t)
	against := decided(w, "k", store.XACommit)
	if err := w.Orders.RollbackXA(t.Context(), against); err != nil { // by hand, against the decision
		t.Fatal(err)
	}
	away := decided(w, "l", store.XACommit)
	w.Inventory.FailBranch(func(call string) bool { return strings.HasSuffix(call, away) })
	var log testkit.Buffer
	registry := prometheus.NewRegistry()
	f := flow.NewXA(flow.Deps{
		Resolver: &flow.Resolver{Log: slog.New(slog.NewTextHandler(&log, nil))}, Upkeep: w.Orders, UpkeepBranches: w.Inventory.Client,
		SweepAfter: time.Hour, Registry: registry,
	})
	now := time.Now()
	f.WithClock(func() time.Time { return now })
	passes := func(n, lines int) {
		t.Helper()
		for range n {
			if err := f.Pass(t.Context()); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Second)
		}
		for text, no := range map[string]string{"level=ERROR msg=\"branch of xa has ended against the decision\"": against, "level=WARN msg=\"recovery of xa retries an order\"": away} {
			n := 0
			for line := range strings.Lines(log.String()) {
				if strings.Contains(line, text) && strings.Contains(line, no) {
					n++
				}
			}
			if n != lines {
				t.Errorf("%d lines %s, want %d:\n%s", n, text, lines, log.String())
			}
		}
		if got := alarms(t, registry); got != float64(lines) {
			t.Errorf("%g alarms, want %d", got, lines)
		}
	}
	passes(5, 1)
	passes(5, 1)
	passes(1, 2) // the eleventh comes 10 s after the first
	now = now.Add(time.Minute)
	passes(1, 3)
	passes(3, 3)
}
