package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
)

const (
	perOrder  = 25 * time.Millisecond // that inventory needs in the burst: 40 orders a second
	burstRate = 400                   // orders a second: ten times the workers' pace
	burstTime = 5 * time.Minute       // for a buyer on a busy machine
)

// burstCases has buyers order at ten times the pace at which inventory reserves. The queue takes what it has room for
// and refuses the others with 429; they come again. No order is lost, the queue stays bounded and is drained.
func burstCases(t *testing.T, s *flowSuite, b crashBroker) {
	const replicas = 2
	buyers, limit := s.size(400, 2000), s.size(80, 200)
	env := patient()
	env["QUEUE_TIMEOUT"], env["QUEUE_MAX"] = "300s", fmt.Sprint(limit)
	var wires []*wire
	sh := newShop(t, setup{strategy: "conditional", replicas: replicas, wallet: true, namesrv: flowBroker(t, b), env: env, inventory: func(addr string) string {
		wires = append(wires, &wire{tb: t})
		return wires[len(wires)-1].via(addr)
	}})
	paced(wires)
	s.each(t, sh, b, caseBurst, func(t *testing.T, f *flowShop) string {
		sku := f.sku("BURST")
		f.stock(sku, buyers)
		tokens := f.tokens("burst", 20)
		var deepest, refused atomic.Int64
		var measuring sync.WaitGroup
		stop := make(chan struct{})
		measuring.Go(func() { f.watchDepth(t, &deepest, stop) })
		var buying sync.WaitGroup
		begin := time.Now()
		for i := range buyers {
			buying.Go(func() {
				time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / burstRate)))
				f.burstBuyer(t, tokens[i%len(tokens)], fmt.Sprint("burst-", i), sku, &refused)
			})
		}
		buying.Wait()
		close(stop)
		measuring.Wait()
		took := time.Since(begin)
		// A replica does not know what the other has let in since its last reading of the depth, so on a machine that is
		// busy enough each fills the queue alone.
		if most := int64(replicas * limit); deepest.Load() > most || deepest.Load() < int64(limit)/2 {
			t.Errorf("%d orders waited at once, with room for %d; want at most %d", deepest.Load(), limit, most)
		}
		if refused.Load() == 0 {
			t.Error("no request was refused: there was no burst")
		}
		testkit.Eventually(t, patience, "the metric says that the queue is empty", func() error {
			if depth := f.metric(f.orders[0], "order_queue_depth"); depth != 0 {
				return fmt.Errorf("it says %d", depth)
			}
			return nil
		})
		if got := f.counts("SELECT status, COUNT(*) FROM orders GROUP BY status"); got[orderapi.StatusPlaced] != buyers || len(got) != 1 {
			t.Errorf("orders by status %v, want %d placed", got, buyers)
		}
		f.truthful(f.audit(patience))
		return fmt.Sprintf("%d placed at %.0f a second, %d times refused, at most %d waited, with room for %d",
			buyers, float64(buyers)/took.Seconds(), refused.Load(), deepest.Load(), limit)
	})
}

// paced has the wires of both replicas forward as many orders a second as one stock row takes.
func paced(wires []*wire) {
	var row sync.Mutex
	for _, w := range wires {
		w.onBody(func(body []byte) {
			var r inventoryapi.ReserveRequest
			if json.NewDecoder(bytes.NewReader(body)).Decode(&r) == nil {
				row.Lock()
				defer row.Unlock()
				time.Sleep(time.Duration(len(r.Orders)) * perOrder)
			}
		})
	}
}

// burstBuyer orders until the queue takes the order, and waits for its decision. After each refusal it waits for
// longer, a second at first as Retry-After says: thousands of buyers that come each second would take the machine from
// the workers.
func (f *flowShop) burstBuyer(t *testing.T, token, key, sku string, refused *atomic.Int64) {
	pause := time.Second
	for end := time.Now().Add(burstTime); time.Now().Before(end); {
		a, err := f.order(token, key, one(sku, 1))
		if err != nil {
			t.Errorf("buyer %s: %v", key, err)
			return
		}
		switch a.Status {
		case http.StatusAccepted:
			if err := f.await(token, a.order(t).OrderNo, burstTime); err != nil {
				t.Errorf("buyer %s: %v", key, err)
			}
			return
		case http.StatusTooManyRequests:
			refused.Add(1)
			if a.code() != "overloaded" || a.Header.Get("Retry-After") == "" {
				t.Errorf("buyer %s was refused with %s, Retry-After %q", key, a.Body, a.Header.Get("Retry-After"))
			}
			time.Sleep(pause)
			pause = min(2*pause, 4*time.Second)
		default:
			t.Errorf("buyer %s: %d %s", key, a.Status, a.Body)
			return
		}
	}
	t.Errorf("buyer %s has no order", key)
}

// watchDepth records the greatest depth of the queue until stop is closed.
func (f *flowShop) watchDepth(t *testing.T, deepest *atomic.Int64, stop <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var depth int64
		if err := f.ordersDB.QueryRow("SELECT COUNT(*) FROM queued_orders").Scan(&depth); err != nil {
			t.Error(err)
			return
		}
		if depth > deepest.Load() {
			deepest.Store(depth)
		}
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}
