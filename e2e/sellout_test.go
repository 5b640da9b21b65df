package e2e_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/order-srv/orderapi"
)

// patient raises every deadline. This many buyers overload a small machine, and an order that times out is undecided,
// which is correct but proves nothing.
func patient() map[string]string {
	return map[string]string{"REQUEST_TIMEOUT": "40s", "PENDING_GRACE": "60s", "BROKER_TRANSACTION_TIMEOUT": "60s", "SWEEP_AFTER": "90s", "RECONCILE_AFTER": "120s"}
}

func TestSellOut(t *testing.T) {
	t.Parallel()
	for _, strategy := range []string{"redis-lock", "for-update"} {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			sh := newShop(t, setup{strategy: strategy, env: patient()})
			sellOut(t, sh, 200, 50)
		})
	}
	t.Run("two replicas", func(t *testing.T) {
		t.Parallel()
		sh := newShop(t, setup{replicas: 2, env: patient()})
		sellOut(t, sh, 200, 50)
		for _, s := range sh.gateways {
			wantServed(t, sh, s, "/v1/orders", 50)
		}
		// A call has the orders of many buyers, and calls go to the replicas in turn.
		for _, s := range sh.orders {
			wantServed(t, sh, s, "/v1/orders", 2)
		}
		for _, s := range sh.inventories {
			wantServed(t, sh, s, "/v1/reservations", 2)
		}
	})
}

// wantServed checks with the process's own counter that it served at least that many requests.
func wantServed(t *testing.T, sh *shop, s *service, route string, least int) {
	t.Helper()
	if n := sh.metric(s, "http_requests_total", `method="POST"`, fmt.Sprintf("route=%q", route)); n < least {
		t.Errorf("%s served %d requests of %s, want %d", s.name, n, route, least)
	}
}

// sellOut lets buyers order one unit each at the same time. Every unit must be sold, and all other buyers refused.
func sellOut(t *testing.T, sh *shop, buyers, units int) {
	const sku = "HOT-1"
	sh.product(sku, units)
	var placed, refused, inFlight, overlap atomic.Int64
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range buyers {
		token := sh.login(fmt.Sprintf("buyer-%d", i), "buyer")
		wg.Go(func() {
			<-start
			now := inFlight.Add(1)
			defer inFlight.Add(-1)
			for seen := overlap.Load(); now > seen && !overlap.CompareAndSwap(seen, now); seen = overlap.Load() {
			}
			a, err := sh.placeAdmitted(token, fmt.Sprintf("key-%d", i), sku)
			switch {
			case err != nil:
				t.Errorf("buyer %d: %v", i, err)
			case a.Status == http.StatusCreated:
				placed.Add(1)
			case a.Status == http.StatusConflict && a.code() == "out_of_stock":
				refused.Add(1)
			default:
				t.Errorf("buyer %d: undecided: %d %s", i, a.Status, a.Body)
			}
		})
	}
	close(start)
	wg.Wait()
	if placed.Load() != int64(units) || refused.Load() != int64(buyers-units) {
		t.Errorf("placed %d, refused %d; want %d and %d", placed.Load(), refused.Load(), units, buyers-units)
	}
	if got := overlap.Load(); got < int64(buyers)/2 {
		t.Errorf("only %d requests overlapped: that proves nothing", got)
	}
	if got := serverOverlap(t, sh); got < 10 {
		t.Errorf("only %d reservations were open at once inside inventory: that proves little", got)
	}
	if got := sh.available(sku); got != 0 {
		t.Errorf("%d units left", got)
	}
	r := sh.audit(60 * time.Second)
	sh.truthful(r)
	remembered := sh.total(sh.orders, "orders_refused_by_memory_total") // these refusals have no order
	if r.Orders[orderapi.StatusPlaced] != units || r.Orders[orderapi.StatusRejected]+remembered != buyers-units {
		t.Errorf("orders by status: %v, refused without one: %d", r.Orders, remembered)
	}
	t.Logf("%d of %d refusals without an order", remembered, buyers-units)
}

// serverOverlap counts from the orders' rows how many orders were pending at the same moment. The clients' view could
// also include requests that wait in front of the first service.
func serverOverlap(t *testing.T, sh *shop) int {
	t.Helper()
	var n int
	err := sh.ordersDB.QueryRow(`
		SELECT MAX(n) FROM (
		  SELECT COUNT(*) AS n FROM orders a JOIN orders b
		  ON b.created_at <= a.created_at AND b.updated_at > a.created_at
		  GROUP BY a.order_no) AS overlaps`).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
