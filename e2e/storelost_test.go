package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/testkit"
	"holdfast/pkg/wait"
)

// flowAgain bounds the time from the broker's return without its store until the next order is placed.
const flowAgain = 30 * time.Second

// TestStoreLost kills the broker of a shop with two replicas of each service and deletes its store, three times, while
// buyers place orders and pay, cancel or leave them. Orders must be placed again within 30 s of the broker's return,
// no service may restart, and in the end all orders are settled and both ledgers agree.
func TestStoreLost(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "MySQL, Redis and RocketMQ")
	kinds := map[string]crashBroker{"development broker": {name: "development broker"}}
	if stack.RocketMQAvailable() == nil {
		kinds["RocketMQ"] = crashBroker{name: "RocketMQ", real: true}
	}
	for name, b := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storeLostUnderLoad(t, newOwnBroker(t, b))
		})
	}
}

func storeLostUnderLoad(t *testing.T, own ownBroker) {
	sh := newShop(t, setup{replicas: 2, namesrv: own.namesrv, env: map[string]string{
		"PAYMENT_TIMEOUT": "10s", "REQUEST_TIMEOUT": "6s", "PENDING_GRACE": "7s", "SWEEP_AFTER": "8s", "SETTLE_AFTER": "1s", "RECONCILE_AFTER": "12s",
	}})
	sh.product("LOST", 100_000)
	load := startStoreLoad(sh, "LOST")
	defer load.stop()
	for range 3 {
		before := load.placed.Load()
		testkit.Eventually(sh.tb, patience, "orders before the loss", func() error { return load.more(before, 20) })
		own.loseDisk()
		returned, before := time.Now(), load.placed.Load()
		testkit.Eventually(sh.tb, flowAgain, "orders after the loss", func() error { return load.more(before, 1) })
		t.Logf("the first order was placed %v after the broker's return", time.Since(returned).Round(10*time.Millisecond))
	}
	before := load.placed.Load()
	testkit.Eventually(sh.tb, patience, "orders at the end", func() error { return load.more(before, 20) })
	load.stop()
	r := sh.audit(patience)
	if len(r.SKUs) != 1 || r.SKUs[0].Sold == 0 {
		t.Errorf("nothing was sold: %+v", r.SKUs)
	}
	for _, s := range append(append([]*service{}, sh.orders...), sh.inventories...) {
		select {
		case <-s.gone:
			t.Errorf("%s ended: %v", s.name, s.cmd.ProcessState)
		default:
		}
	}
	t.Logf("%d orders placed, audit: %+v, healed %d", load.placed.Load(), r.SKUs, len(r.Healed))
}

// storeLoad is four buyers who place orders continuously. Of each three orders one is paid, one is cancelled and one
// expires.
type storeLoad struct {
	placed atomic.Int64
	stop   func() // stops the load and waits; may be called twice
}

func startStoreLoad(sh *shop, sku string) *storeLoad {
	l := &storeLoad{}
	ctx, cancel := context.WithCancel(sh.tb.Context())
	var buyers sync.WaitGroup
	for b := range 4 {
		token := sh.login(fmt.Sprintf("buyer-%d", b), "buyer")
		buyers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				l.buy(sh, token, fmt.Sprintf("lost-%d-%d", b, n), sku, n)
				_ = wait.Sleep(ctx, 50*time.Millisecond)
			}
		})
	}
	l.stop = func() {
		cancel()
		buyers.Wait()
	}
	return l
}

// buy places one order. A refusal is no error, because the broker may be down.
func (l *storeLoad) buy(sh *shop, token, key, sku string, n int) {
	a, err := sh.place(token, key, sku)
	if err != nil || a.Status != http.StatusCreated {
		return
	}
	l.placed.Add(1)
	end := []string{"payment", "cancellation", ""}[n%3]
	if end == "" {
		return
	}
	if _, err := sh.call(http.MethodPost, "/v1/orders/"+a.order(sh.tb).OrderNo+"/"+end, token, ""); err != nil {
		sh.tb.Errorf("%s of an order: %v", end, err)
	}
}

// more returns nil after n more orders were placed.
func (l *storeLoad) more(before, n int64) error {
	if got := l.placed.Load() - before; got < n {
		return fmt.Errorf("%d of %d orders were placed", got, n)
	}
	return nil
}
