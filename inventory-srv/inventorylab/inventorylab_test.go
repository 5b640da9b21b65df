package inventorylab_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
)

// TestLab has two instances of each strategy share a stock.
func TestLab(t *testing.T) {
	t.Parallel()
	for _, s := range inventorylab.Strategies() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			cfg := inventorylab.Config{
				DSN: dbtest.NewDSN(t, nil), RedisAddrs: []string{stacktest.Redis(t)}, RedlockAddrs: stacktest.RedlockNodes(t),
				Strategy: s.Name, LockPrefix: fmt.Sprintf("lab-%d:", rand.Uint64()),
			}
			one, two := open(t, cfg), open(t, cfg)
			for range 2 {
				if err := one.Stock(t.Context(), "A", 10, "first"); err != nil {
					t.Fatal(err)
				}
			}
			lines := []inventoryapi.Line{{SKU: "A", Quantity: 4}}
			receipt, err := one.Reserve(t.Context(), "SOLD", lines)
			if err != nil || receipt.Strategy != s.Name || receipt.AmountCents != 400 {
				t.Fatalf("%+v, error %v", receipt, err)
			}
			for _, err := range []error{
				second(two.Reserve(t.Context(), "HELD", lines)),
				two.Confirm(t.Context(), "SOLD"),
				one.Release(t.Context(), "GONE"),
			} {
				if err != nil {
					t.Error(err)
				}
			}
			if _, err := one.Reserve(t.Context(), "LATE", lines); !errors.Is(err, inventoryapi.ErrOutOfStock) {
				t.Errorf("too late: %v", err)
			}
			ledger, err := two.Ledger(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := []inventoryapi.LedgerEntry{{SKU: "A", Layout: s.Layout, Inbound: 10, Available: 2, Reserved: 4, Sold: 4, LinesReserved: 4, LinesConfirmed: 4}}
			if diff := cmp.Diff(want, ledger.SKUs); diff != "" {
				t.Errorf("the ledger (-want +got):\n%s", diff)
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }

func open(t testing.TB, cfg inventorylab.Config) *inventorylab.Lab {
	t.Helper()
	lab, err := inventorylab.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab
}

func TestOpen_UnknownStrategy(t *testing.T) {
	t.Parallel()
	_, err := inventorylab.Open(t.Context(), inventorylab.Config{DSN: dbtest.NewDSN(t, nil), RedisAddrs: []string{"127.0.0.1:1"}, Strategy: "hope"})
	if err == nil {
		t.Error("a strategy that does not exist was opened")
	}
}
