package compare_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/lab/compare"
	"holdfast/inventory-srv/inventorylab"
)

// TestRun runs a small comparison with all loads and two replicas on real servers. The safe strategies must hold, and
// the unsafe one must lose units.
func TestRun(t *testing.T) {
	t.Parallel()
	redis := stacktest.Redis(t)
	var progress bytes.Buffer
	r, err := compare.Run(t.Context(), compare.Options{
		Servers:    compare.Servers{MySQL: stacktest.MySQL(t), Redis: []string{redis}},
		Strategies: []string{"naive", "for-update", compare.Winner}, Pool: 16, Progress: &progress,
		Preset: compare.Preset{Name: "test", Repetitions: 2, Period: 300 * time.Millisecond, Shapes: []compare.Shape{
			{Callers: 32, SKUs: 2, Replicas: 2, Loop: compare.Closed},
			{SKUs: 1, Replicas: 1, Loop: compare.Open, Rate: 100},
			{SKUs: 2, Replicas: 1, Loop: compare.Limit},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Cells) != 14 { // the limit is one strategy's
		t.Fatalf("%d cells, want 14", len(r.Cells))
	}
	for _, c := range r.Cells {
		if c.Orders == 0 || c.Throughput <= 0 || c.P50 <= 0 || c.P99 < c.P50 {
			t.Errorf("measured nothing: %+v", c)
		}
	}
	if broken := r.BrokenSafe(); broken != nil {
		t.Errorf("safe strategies have violations: %+v", broken)
	}
	if limit := r.Cells[6]; limit.Loop != compare.Limit || limit.Strategy != compare.Winner || limit.Orders < 1024 {
		t.Errorf("no full batches: %+v", limit)
	}
	if r.Cells[0].Strategy != "naive" || !r.Cells[0].Broken() {
		t.Errorf("32 callers of naive lost nothing: %+v", r.Cells[0])
	}
	if r.Environment.Database == "" || r.Environment.Settings["innodb_flush_log_at_trx_commit"] != "1" {
		t.Errorf("the environment: %+v", r.Environment)
	}
	if !strings.Contains(progress.String(), "14 of 14") {
		t.Errorf("the progress line ended as %q", progress.String())
	}
}

// forgetful is a strategy from outside that reserves orders and takes no units.
type forgetful struct {
	inventorylab.RowStock
	ledger *inventorylab.Ledger
}

// Reserve implements inventorylab.Reserver.
func (f forgetful) Reserve(ctx context.Context, r inventorylab.Request) (inventorylab.Receipt, error) {
	return f.ledger.Reserve(ctx, r, func(*gorm.DB, []inventorylab.Line) error { return nil })
}

// TestRun_Extra compares a strategy from outside with the reference alone, and finds that it oversells.
func TestRun_Extra(t *testing.T) {
	t.Parallel()
	mine := inventorylab.Strategy{
		Name: "mine", Layout: inventorylab.LayoutRow, Idea: "take nothing", Safe: true,
		New: func(d inventorylab.Deps) inventorylab.Reserver {
			return forgetful{inventorylab.NewRowStock(d.Ledger), d.Ledger}
		},
	}
	r, err := compare.Run(t.Context(), compare.Options{
		Servers:    compare.Servers{MySQL: stacktest.MySQL(t), Redis: []string{stacktest.Redis(t)}},
		Strategies: []string{"mine"}, Extra: []inventorylab.Strategy{mine}, Pool: 4,
		Preset: compare.Preset{Name: "test", Repetitions: 1, Period: 200 * time.Millisecond, Shapes: []compare.Shape{
			{Callers: 4, SKUs: 1, Replicas: 1, Loop: compare.Closed},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Cells) != 2 || r.Cells[0].Strategy != compare.Reference || r.Cells[1].Strategy != "mine" {
		t.Fatalf("the cells are %+v, want the reference and mine", r.Cells)
	}
	if broken := r.BrokenSafe(); len(broken) != 1 || broken[0].Strategy != "mine" || broken[0].Violations == 0 {
		t.Errorf("broken: %+v, want mine alone", broken)
	}
}
