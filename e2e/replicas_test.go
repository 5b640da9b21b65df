package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/config"
	"holdfast/pkg/rest"
)

// TestReplicasShareWork runs two replicas of each service on empty databases, which both migrate at the same time. The
// replicas then share the background work, and no work may be done twice: no message is sent or handled twice, and no
// order is healed twice. The counters are sums over both replicas.
func TestReplicasShareWork(t *testing.T) {
	t.Parallel()
	const each, sku = 20, "SHARED"
	sh := newShop(t, setup{replicas: 2, empty: true, env: map[string]string{
		"PENDING_GRACE": "6s", "SWEEP_AFTER": "8s", "SETTLE_AFTER": "1s", "RECONCILE_AFTER": "20s",
	}})
	sh.product(sku, 10*each)
	ann := sh.login("ann", "buyer")

	orphans := sh.orphans(sku, each)          // work for the sweeper
	numbers := sh.placeMany(ann, sku, 4*each) // work for relay and consumers
	lost := numbers[:each]                    // work for the reconciler
	var counted []string                      // orders that were placed together have one time-out
	if err := query(sh.ordersDB, "SELECT COUNT(DISTINCT group_id) FROM orders WHERE status = 'PLACED'", &counted); err != nil {
		t.Fatal(err)
	}
	groups, err := strconv.Atoi(counted[0])
	if err != nil {
		t.Fatal(err)
	}
	sh.exec(sh.ordersDB, `UPDATE orders SET status = 'CANCELLED', updated_at = UTC_TIMESTAMP(6) - INTERVAL 1 HOUR,
		due_at = UTC_TIMESTAMP(6) - INTERVAL 1 HOUR WHERE order_no IN (`+list(lost)+")")
	for i, no := range numbers[each : 3*each] {
		end := "/payment"
		if i%2 == 0 {
			end = "/cancellation"
		}
		sh.must(http.StatusOK, http.MethodPost, "/v1/orders/"+no+end, ann, "")
	}
	r := sh.audit(90 * time.Second)

	if s := r.SKUs[0]; s.Sold != each || s.Reserved != each || s.Available != 8*each {
		t.Errorf("ledger %+v, want %d sold and %d reserved", s, each, each)
	}
	for _, tt := range []struct {
		what     string
		replicas []*service
		want     int
		metric   string
		labels   []string
		both     bool // each replica did a part of it
	}{
		{"swept", sh.orders, each, "orders_healed_total", []string{`by="sweeper"`}, false},
		{"reconciled", sh.orders, each, "orders_healed_total", []string{`by="reconciler"`}, false},
		// Time-outs wake no relay: the first to look may take all of them.
		{"time-outs sent", sh.orders, groups, "mq_sent_total", []string{`topic="order-timeout"`, `result="ok"`}, false},
		{"events sent", sh.orders, 2 * each, "mq_sent_total", []string{`topic="order-events"`, `result="ok"`}, false},
		{"events handled", sh.inventories, 2 * each, "mq_handled_total", []string{`topic="order-events"`, `verdict="ack"`}, true},
		{"releases handled", sh.inventories, len(orphans), "mq_handled_total", []string{`topic="stock-release"`, `verdict="ack"`}, false},
	} {
		var counts []int
		sum := 0
		for _, s := range tt.replicas {
			n := sh.metric(s, tt.metric, tt.labels...)
			counts, sum = append(counts, n), sum+n
		}
		if sum != tt.want || tt.both && slices.Contains(counts, 0) {
			t.Errorf("%s: %v by the two replicas, want %d in all", tt.what, counts, tt.want)
		}
		t.Logf("%s: %v", tt.what, counts)
	}
	var rows []string
	if err := query(sh.ordersDB, "SELECT COUNT(*), SUM(attempts), SUM(sent_at IS NULL) FROM outbox", &rows); err != nil {
		t.Fatal(err)
	}
	sent := groups + 3*each // time-outs, events, releases
	if want := fmt.Sprintf("%d | %d | 0", sent, sent); rows[0] != want {
		t.Errorf("the outbox has %s rows, attempts, unsent; want %s", rows[0], want)
	}
}

// orphans inserts orders whose order-srv died after it had reserved, some time ago.
func (sh *shop) orphans(sku string, n int) []string {
	sh.tb.Helper()
	client, err := rest.New(rest.Config{Name: "inventory", URLs: []string{"http://" + sh.inventory.http}, Credential: config.DemoServiceCredential})
	if err != nil {
		sh.tb.Fatal(err)
	}
	defer client.Close()
	var numbers []string
	var orders []inventoryapi.ReserveOrder
	for range n {
		numbers = append(numbers, ulid.Make().String())
		orders = append(orders, inventoryapi.ReserveOrder{OrderNo: numbers[len(numbers)-1], Lines: []inventoryapi.Line{{SKU: sku, Quantity: 1}}})
	}
	results, err := inventoryapi.NewClient(client).Reserve(context.Background(), orders)
	if err != nil {
		sh.tb.Fatal(err)
	}
	for _, r := range results {
		if r.Receipt == nil {
			sh.tb.Fatalf("reserve %s: %+v", r.OrderNo, r.Problem)
		}
	}
	for _, no := range numbers { // last, because the sweeper handles them from now on
		sh.exec(sh.ordersDB, "INSERT INTO order_items (order_no, sku, quantity) VALUES ('"+no+"', '"+sku+"', 1)")
		sh.exec(sh.ordersDB, `INSERT INTO orders (order_no, group_id, user_id, request_hash, status, flow, created_at, updated_at)
			VALUES ('`+no+`', '`+no+`', 'orphan', 'h', 'PENDING', 'tx-message', UTC_TIMESTAMP(6) - INTERVAL 1 HOUR, UTC_TIMESTAMP(6) - INTERVAL 1 HOUR)`)
	}
	return numbers
}

// placeMany places n orders of one unit, several at a time.
func (sh *shop) placeMany(token, sku string, n int) []string {
	sh.tb.Helper()
	numbers := make([]string, n)
	var wg sync.WaitGroup
	for first := range 8 {
		wg.Go(func() {
			for i := first; i < n; i += 8 {
				a, err := sh.place(token, fmt.Sprintf("many-%d", i), sku)
				if err != nil || a.Status != http.StatusCreated {
					sh.tb.Errorf("place: %v, %d %s", err, a.Status, a.Body)
					continue
				}
				numbers[i] = a.order(sh.tb).OrderNo
			}
		})
	}
	wg.Wait()
	if sh.tb.Failed() {
		sh.tb.FailNow()
	}
	return numbers
}

func list(values []string) string { return "'" + strings.Join(values, "', '") + "'" }
