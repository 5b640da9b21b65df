package strategy_test

import (
	"errors"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/inventory-srv/internal/app"
	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
)

// numberOf is an order number that was made so long ago.
func numberOf(age time.Duration) string {
	return ulid.MustNew(ulid.Timestamp(time.Now().Add(-age)), ulid.DefaultEntropy()).String()
}

// TestSet_horizon: an order whose number is past the horizon is not reserved. Its release is acknowledged without a
// tombstone, unless the ledger or the archive has it.
func TestSet_horizon(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	w.Has(t, "A", 100)
	set := w.One.Build(t, app.Config{Strategy: "conditional", ReserveHorizon: 96 * time.Hour}).Stock
	all := w.Two.Build(t, app.Config{Strategy: "conditional"}).Stock // without a horizon
	ctx := t.Context()
	reserve := func(s stock.Reserver, no string) error {
		_, err := s.Reserve(ctx, stock.Request{OrderNo: no, Lines: []stock.Line{{SKU: "A", Quantity: 1}}})
		return err
	}
	if err := reserve(set, numberOf(95*time.Hour)); err != nil {
		t.Errorf("younger than the horizon: %v", err)
	}
	late, held, sold := numberOf(97*time.Hour), numberOf(98*time.Hour), numberOf(99*time.Hour)
	if err := reserve(set, late); !errors.Is(err, stock.ErrClosed) {
		t.Errorf("older than the horizon: %v, want %v", err, stock.ErrClosed)
	}
	if err := reserve(set, "ORDER-1"); err != nil {
		t.Errorf("a number without a time: %v", err)
	}
	if err := set.Release(ctx, late); err != nil {
		t.Errorf("release of an unknown old order: %v", err)
	}
	if err := set.Confirm(ctx, late); !errors.Is(err, stock.ErrUnknownOrder) {
		t.Errorf("confirm of an unknown old order: %v", err)
	}
	if status := w.State(t, late); status != "" {
		t.Errorf("the unknown old order is %s", status)
	}
	for _, no := range []string{held, sold} { // they were reserved when they were young
		if err := reserve(all, no); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(set.Release(ctx, held), set.Confirm(ctx, sold)); err != nil {
		t.Errorf("the end of old orders that the ledger has: %v", err)
	}
	if got := []stock.Status{w.State(t, held), w.State(t, sold)}; got[0] != stock.Released || got[1] != stock.Confirmed {
		t.Errorf("they are %v", got)
	}
	if _, err := set.Archive(ctx, numberOf(119*time.Hour)); !errors.Is(err, stock.ErrTooYoung) {
		t.Errorf("archived within a day after the horizon: %v", err)
	}
	old := numberOf(200 * time.Hour)
	if err := errors.Join(reserve(all, old), set.Confirm(ctx, old)); err != nil {
		t.Fatal(err)
	}
	if step, err := set.Archive(ctx, numberOf(199*time.Hour)); err != nil || step.Archived != 1 {
		t.Errorf("archived %+v, error %v", step, err)
	}
	if err := set.Confirm(ctx, old); err != nil {
		t.Errorf("confirm of an archived order: %v", err)
	}
	if err := set.Release(ctx, old); !errors.Is(err, stock.ErrConfirmed) {
		t.Errorf("release of an archived order: %v, want %v", err, stock.ErrConfirmed)
	}
	if status := w.State(t, old); status != "" {
		t.Errorf("the archived order is %s in the ledger", status)
	}
}
