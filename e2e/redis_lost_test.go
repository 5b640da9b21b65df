package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
)

// TestRedisForgets empties a Redis that holds the stock, once with orders that MySQL has not recorded. The shop must
// close, load Redis again and sell every unit once. A paid order whose reservation is lost must become REFUND_DUE.
func TestRedisForgets(t *testing.T) {
	t.Parallel()
	const sku, units, unheard, buyers = "HOT", 60, 5, 20
	server := stacktest.OwnRedis(t)
	sh := newShop(t, setup{
		strategy: "redis-lua", redis: server.Addr, replicas: 2,
		env: map[string]string{"LOCK_TTL": "1s", "PENDING_GRACE": "6s", "SWEEP_AFTER": "8s", "SETTLE_AFTER": "1s", "RECONCILE_AFTER": "10s"},
	})
	sh.product(sku, units)
	sh.must(http.StatusOK, http.MethodPut, "/v1/admin/products/"+sku+"/layout", sh.admin, `{"layout":"redis"}`)
	ann := sh.login("ann", "buyer")
	heard := sh.mustPlace(ann, "heard", sku)
	sh.audit(30 * time.Second) // MySQL has applied the stream

	// No replica can apply the stream while this transaction locks the position. The writer that has read these entries
	// loses its lease meanwhile.
	blocker, err := sh.stockDB.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Rollback() //nolint:errcheck // a second Rollback has no effect
	if _, err := blocker.Exec("UPDATE redis_stream SET open = open WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	if _, err := blocker.Exec("SELECT id FROM redis_stream FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	var lost []orderapi.Order
	for i := range unheard {
		lost = append(lost, sh.mustPlace(ann, fmt.Sprintf("unheard-%d", i), sku))
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer client.Close()
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(sh.tb, 30*time.Second, "the writer gives up", func() error {
		for _, s := range sh.inventories {
			if strings.Contains(s.log.String(), "the writer of the Redis stream starts again") {
				return nil
			}
		}
		return fmt.Errorf("nobody has")
	})
	if err := blocker.Rollback(); err != nil {
		t.Fatal(err)
	}
	placed := sh.buyAll(t, sku, buyers)
	r := sh.audit(60 * time.Second)
	if placed != units-1 || len(r.SKUs) != 1 || r.SKUs[0].LinesReserved != units || r.SKUs[0].Oversold != 0 {
		t.Errorf("%d orders were placed after the loss, the ledger: %+v", placed, r.SKUs)
	}
	if len(r.Lost) != unheard || len(r.Losses) == 0 {
		t.Errorf("%d orders are lost, want %d: %v", len(r.Lost), unheard, r.Lost)
	}
	operations, inUnits := int64(0), int64(0)
	for _, l := range r.Losses {
		operations += l.Operations
		inUnits += l.Units
	}
	if operations != unheard || inUnits != unheard {
		t.Errorf("recorded as lost: %d operations, %d units; want %d", operations, inUnits, unheard)
	}
	sh.must(http.StatusOK, http.MethodPost, "/v1/orders/"+lost[0].OrderNo+"/payment", ann, "")
	sh.must(http.StatusOK, http.MethodPost, "/v1/orders/"+heard.OrderNo+"/payment", ann, "")
	testkit.Eventually(sh.tb, 60*time.Second, "the lost order is owed a refund", func() error {
		var status, reason string
		err := sh.ordersDB.QueryRow("SELECT status, COALESCE(reason, '') FROM orders WHERE order_no = ?", lost[0].OrderNo).Scan(&status, &reason)
		if err != nil || status != orderapi.StatusRefundDue || reason != "stock_lost" {
			return fmt.Errorf("it is %s %q, error %w", status, reason, err)
		}
		return nil
	})
	if r := sh.audit(60 * time.Second); len(r.Lost) != unheard-1 || r.SKUs[0].Sold != 1 {
		t.Errorf("after the payments: %d lost, %+v", len(r.Lost), r.SKUs)
	}
}

// buyAll lets buyers order until they get "sold out", and returns the number of placed orders. A retryable refusal is
// retried.
func (sh *shop) buyAll(t *testing.T, sku string, buyers int) int64 {
	t.Helper()
	end := time.Now().Add(60 * time.Second)
	var placed atomic.Int64
	var wg sync.WaitGroup
	for b := range buyers {
		token := sh.login(fmt.Sprintf("buyer-%d", b), "buyer")
		wg.Go(func() {
			for n := 0; time.Now().Before(end); {
				a, err := sh.placeAdmitted(token, fmt.Sprintf("order-%d", n), sku)
				switch {
				case err != nil:
					t.Errorf("place: %v", err)
					return
				case a.Status == http.StatusCreated:
					placed.Add(1)
					n++
				case a.code() == "out_of_stock":
					return
				case a.code() == "order_ended":
					n++
				case a.Status != http.StatusServiceUnavailable && a.Status != http.StatusAccepted && a.Status != http.StatusConflict:
					t.Errorf("place: %d %s", a.Status, a.Body)
					return
				}
			}
		})
	}
	wg.Wait()
	return placed.Load()
}
