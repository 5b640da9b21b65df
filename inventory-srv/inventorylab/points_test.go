package inventorylab_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
)

// TestConfig_At: a lesson can stop two mistakes where they go wrong. Statements of a transaction have its connection.
func TestConfig_At(t *testing.T) {
	t.Parallel()
	for flaw, want := range map[string][]string{
		"unlock-before-commit": {"SELECT in tx", "INSERT in tx", "locked", "SELECT in tx", "UPDATE in tx", "unlocked"},
		"other-connection":     {"SELECT in tx", "INSERT in tx", "SELECT", "UPDATE in tx"},
	} {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel()
			var points []string
			connections := map[int64]bool{}
			cfg := inventorylab.Config{
				DSN: dbtest.NewDSN(t, nil), RedisAddrs: []string{stacktest.Redis(t)}, LockPrefix: fmt.Sprintf("points-%d:", rand.Uint64()),
				Log: slog.New(slog.DiscardHandler),
				At: func(p inventorylab.Point) {
					if p.At != inventorylab.AtStatement {
						points = append(points, string(p.At))
						return
					}
					verb, _, _ := strings.Cut(p.SQL, " ")
					if p.Connection != 0 {
						verb += " in tx"
						connections[p.Connection] = true
					}
					points = append(points, verb)
				},
			}
			lab, err := inventorylab.OpenFlaw(t.Context(), cfg, flaw)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = lab.Close() })
			if err := lab.Stock(t.Context(), "A", 10, "first"); err != nil {
				t.Fatal(err)
			}
			if len(points) > 0 {
				t.Errorf("points outside a Reserve: %q", points)
			}
			if _, err := lab.Reserve(t.Context(), "ORDER", []inventoryapi.Line{{SKU: "A", Quantity: 1}}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, points); diff != "" {
				t.Errorf("points, want (-), got (+):\n%s", diff)
			}
			if len(connections) != 1 {
				t.Errorf("connections of the transaction: %v", connections)
			}
		})
	}
}
