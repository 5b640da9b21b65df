package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"holdfast/order-srv/orderapi"
)

// TestClientsHangUp lets clients abort their requests at random moments. Every order that began must be decided
// without a healer.
func TestClientsHangUp(t *testing.T) {
	t.Parallel()
	const clients, each, longest, sku = 10, 12, 60 * time.Millisecond, "HOT-1"
	sh := newShop(t, setup{env: patient()})
	sh.product(sku, 1000)
	token := sh.login("hasty", "buyer")
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				ctx, cancel := context.WithTimeout(t.Context(), rand.N(longest)) // a random moment
				_, _ = sh.callWith(ctx, sh.client, sh.gateway, http.MethodPost, "/v1/orders", token,
					fmt.Sprintf(`{"items":[{"sku":%q,"quantity":1}]}`, sku), "Idempotency-Key", fmt.Sprintf("%d-%d", c, i))
				cancel()
			}
		})
	}
	wg.Wait()
	r := sh.audit(60 * time.Second)
	sh.truthful(r)
	t.Logf("orders by status: %v", r.Orders)
	if r.Orders[orderapi.StatusPlaced] == 0 || r.Orders[orderapi.StatusAbandoned] != 0 || r.Orders[orderapi.StatusPending] != 0 {
		t.Errorf("orders by status: %v; want some PLACED and none left undecided", r.Orders)
	}
}
