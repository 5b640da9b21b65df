package inventorylab_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/inventory-srv/internal/flawed"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
)

// TestOpenFlaw has each mistake of the gallery sell a unit, which its cure confirms. One buyer alone sees no fault. The
// first order, by the cure, distributes the stock over buckets and units.
func TestOpenFlaw(t *testing.T) {
	t.Parallel()
	for _, f := range flawed.List() {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			cfg := inventorylab.Config{
				DSN: dbtest.NewDSN(t, nil), RedisAddrs: []string{stacktest.Redis(t)}, RedlockAddrs: stacktest.RedlockNodes(t),
				LockPrefix: fmt.Sprintf("flaw-%d:", rand.Uint64()), Log: slog.New(slog.DiscardHandler),
			}
			flaw, err := inventorylab.OpenFlaw(t.Context(), cfg, f.Name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = flaw.Close() })
			if err := flaw.Stock(t.Context(), "A", 100, "first"); err != nil {
				t.Fatal(err)
			}
			if f.Cure == "buckets" || f.Cure == "skip-locked" {
				cfg.Strategy = f.Cure
				if _, err := open(t, cfg).Reserve(t.Context(), "CURE", []inventoryapi.Line{{SKU: "A", Quantity: 1}}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := flaw.Reserve(t.Context(), "FLAW", []inventoryapi.Line{{SKU: "A", Quantity: 1}}); err != nil {
				t.Fatal(err)
			}
			if err := flaw.Confirm(t.Context(), "FLAW"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOpenFlaw_Unknown(t *testing.T) {
	t.Parallel()
	if _, err := inventorylab.OpenFlaw(t.Context(), inventorylab.Config{}, "hope"); err == nil {
		t.Error("a mistake that does not exist was opened")
	}
}
