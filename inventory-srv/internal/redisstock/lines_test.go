package redisstock_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/store"
)

// TestLines: what the stream carries comes back as it was.
func TestLines(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		lines := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) store.PricedLine {
			return store.PricedLine{
				SKU:            rapid.StringMatching(`[A-Z0-9._-]{1,64}`).Draw(rt, "sku"),
				Quantity:       rapid.Int64Min(1).Draw(rt, "quantity"),
				UnitPriceCents: rapid.Int64Min(0).Draw(rt, "price"),
			}
		}), 1, 100).Draw(rt, "lines")
		back, err := redisstock.ParseLines(redisstock.FormatLines(lines))
		if diff := cmp.Diff(lines, back); err != nil || diff != "" {
			rt.Fatalf("error %v (-sent +got):\n%s", err, diff)
		}
	})
	for _, text := range []string{"A", "A 1", "A 1 ", "A x 1", "a 1 1", "A 1 1;", ";", "A 1 1 1", " 1 1"} {
		if lines, err := redisstock.ParseLines(text); err == nil {
			t.Errorf("%q is taken for %v", text, lines)
		}
	}
}
