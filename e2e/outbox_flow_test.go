package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/check"
	"holdfast/order-srv/orderapi"
)

// restartable is a broker that can be killed and started again.
type restartable interface {
	Kill(ctx context.Context) error
	Restart(ctx context.Context) error
}

// TestOutboxFlow places orders through the outbox with two replicas of each service, on both brokers: a sell-out,
// inventory away and back, the broker away and back. Orders are taken all the time, and all of them are decided.
func TestOutboxFlow(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs MySQL, Redis and RocketMQ")
	}
	env := map[string]string{"ORDER_FLOW": "outbox", "QUEUE_TIMEOUT": "5m"}
	t.Run("development broker", func(t *testing.T) {
		t.Parallel()
		b := devBroker(t, "")
		t.Cleanup(func() { _ = b.Close() })
		outboxFlow(t, newShop(t, setup{replicas: 2, namesrv: b.Addr(), env: env}), b)
	})
	t.Run("RocketMQ", func(t *testing.T) {
		t.Parallel()
		if err := stack.RocketMQAvailable(); err != nil {
			t.Skipf("RocketMQ cannot run here: %v", err)
		}
		b := stacktest.OwnRocketMQ(t)
		outboxFlow(t, newShop(t, setup{replicas: 2, strategy: "group-commit", namesrv: b.NamesrvAddr, env: env}), b)
	})
}

func outboxFlow(t *testing.T, sh *shop, broker restartable) {
	const units, buyers, sku = 20, 50, "OUTBOX-1"
	sh.product(sku, units)
	all := sh.take("sell-out", sku, buyers)
	counts := sh.decided(all)
	if counts[orderapi.StatusPlaced] != units || counts[orderapi.StatusRejected] != buyers-units {
		t.Errorf("sell-out: %v, want %d placed and the others rejected", counts, units)
	}
	for _, s := range sh.orders {
		if n := sh.metric(s, "http_requests_total", `method="POST"`, `route="/v1/orders"`); n == 0 {
			t.Errorf("%s took no order", s.name)
		}
	}

	const more, sku2 = 10, "OUTBOX-2"
	sh.product(sku2, 100)
	for _, s := range sh.inventories {
		sh.kill(s)
	}
	away := sh.take("inventory-away", sku2, more)
	for _, s := range sh.inventories {
		sh.restart(s)
	}
	if counts := sh.decided(away); counts[orderapi.StatusPlaced] != more {
		t.Errorf("inventory away and back: %v, want %d placed", counts, more)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := broker.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	away = sh.take("broker-away", sku2, more)
	if err := broker.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if counts := sh.decided(away); counts[orderapi.StatusPlaced] != more {
		t.Errorf("broker away and back: %v, want %d placed", counts, more)
	}
	ann := sh.login("ann", "buyer")
	sh.must(http.StatusOK, http.MethodPost, "/v1/orders/"+away[0]+"/payment", ann, "")
	sh.must(http.StatusOK, http.MethodPost, "/v1/orders/"+away[1]+"/cancellation", ann, "")
	r := sh.audit(90 * time.Second)
	sh.truthful(r)
	if i := slices.IndexFunc(r.SKUs, func(s check.SKU) bool { return s.SKU == sku2 }); r.SKUs[i].Sold != 1 || r.SKUs[i].Reserved != 2*more-2 {
		t.Errorf("ledger %+v", r.SKUs[i])
	}
}

// TestOutboxFlow_messages loses and repeats messages: an order whose command is lost is abandoned after QUEUE_TIMEOUT
// and holds nothing, one whose messages come several times is placed once, and an answer whose end the sender does not
// learn is sent again.
func TestOutboxFlow_messages(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs MySQL and Redis")
	}
	const sku, each = "OUTBOX-3", 5
	b := devBroker(t, "")
	t.Cleanup(func() { _ = b.Close() })
	sh := newShop(t, setup{namesrv: b.Addr(), env: map[string]string{
		"ORDER_FLOW": "outbox", "PENDING_GRACE": "6s", "SWEEP_AFTER": "8s", "QUEUE_TIMEOUT": "12s", "RECONCILE_AFTER": "20s",
	}})
	sh.product(sku, 10*each)

	b.Duplicate(sh.topic(orderapi.TopicStockReserve), each)
	b.Duplicate(sh.topic(inventoryapi.TopicStockReserved), each)
	b.LoseAnswers(10, 2) // of sends: the relays send these messages again
	if counts := sh.decided(sh.take("repeated", sku, each)); counts[orderapi.StatusPlaced] != each {
		t.Errorf("repeated messages: %v, want %d placed", counts, each)
	}
	b.Heal()

	b.Drop(sh.topic(orderapi.TopicStockReserve), 1000)
	lost := sh.take("lost", sku, each)
	if counts := sh.decided(lost); counts[orderapi.StatusAbandoned] != each {
		t.Errorf("lost commands: %v, want %d abandoned", counts, each)
	}
	b.Heal()

	b.Delay(sh.topic(orderapi.TopicStockReserve), 1000, 20*time.Second) // its release overtakes the command
	late := sh.take("late", sku, each)
	if counts := sh.decided(late); counts[orderapi.StatusAbandoned] != each {
		t.Errorf("late commands: %v, want %d abandoned", counts, each)
	}
	b.Heal()
	testkit.Eventually(t, 60*time.Second, "inventory answers the late commands", func() error {
		var n int
		if err := sh.stockDB.QueryRow("SELECT COUNT(*) FROM reserve_answers WHERE refused AND order_no IN (" + list(late) + ")").Scan(&n); err != nil {
			return err
		}
		if n != each {
			return fmt.Errorf("%d of %d are answered", n, each)
		}
		return nil
	})
	r := sh.audit(90 * time.Second)
	sh.truthful(r)
	if s := r.SKUs[0]; s.Reserved != each || s.Available != 9*each {
		t.Errorf("ledger %+v, want %d reserved", s, each)
	}
}

// take places n orders of one unit, several at a time. Each must be taken with a 202.
func (sh *shop) take(key, sku string, n int) (orderNos []string) {
	sh.tb.Helper()
	ann := sh.login("ann", "buyer")
	orderNos = make([]string, n)
	var placing sync.WaitGroup
	for i := range n {
		placing.Go(func() {
			a, err := sh.placeAdmitted(ann, fmt.Sprintf("%s-%d", key, i), sku)
			if err != nil || a.Status != http.StatusAccepted {
				sh.tb.Errorf("%s: %v, %d %s; want 202", key, err, a.Status, a.Body)
				return
			}
			orderNos[i] = a.order(sh.tb).OrderNo
		})
	}
	placing.Wait()
	if sh.tb.Failed() {
		sh.tb.FailNow()
	}
	return orderNos
}

// decided waits until none of the orders is PENDING and returns how many have each status.
func (sh *shop) decided(orderNos []string) map[string]int {
	sh.tb.Helper()
	counts := map[string]int{}
	testkit.Eventually(sh.tb, 2*time.Minute, "the orders are decided", func() error {
		clear(counts)
		for _, no := range orderNos {
			counts[sh.status(no)]++
		}
		if n := counts[orderapi.StatusPending]; n > 0 {
			return fmt.Errorf("%d are PENDING", n)
		}
		return nil
	})
	return counts
}

// topic is the broker's name of a topic.
func (sh *shop) topic(name string) string {
	for _, v := range sh.order.env {
		if namespace, ok := strings.CutPrefix(v, "MQ_NAMESPACE="); ok {
			return namespace + "-" + name
		}
	}
	return name
}
