package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"holdfast/pkg/wait"
)

// crowd is a number of correct clients: each repeats its request with the same idempotency key until an answer decides
// its order.
type crowd struct {
	sh     *shop
	client *http.Client
	sku    string
	inside chan struct{} // bounds the concurrent requests; the other buyers wait

	placed    atomic.Int64 // number of 201 answers so far
	refused   atomic.Int64
	ended     atomic.Int64
	repeated  atomic.Int64 // requests that were retries
	ambiguous atomic.Int64 // retries of requests that may have been executed
}

// The results of a buyer's order.
const (
	boughtUnit = "placed"      // 201
	soldOut    = "refused"     // 409 out_of_stock
	undecided  = "no decision" // the buyer gave up, which fails the test
)

// purchase is one buyer's order.
type purchase struct {
	token, key string
	result     string
	orderNo    string // of a placed order, or of a refused one whose answer names its order
}

// buyerPatience bounds one purchase. It is longer than the shop needs to abandon an order, on a machine that has more
// to do.
const buyerPatience = 4 * time.Minute

func newCrowd(sh *shop, sku string, inside int) *crowd {
	return &crowd{sh: sh, sku: sku, inside: make(chan struct{}, inside), client: &http.Client{
		Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: inside},
	}}
}

// buyers returns n purchases by n users.
func (c *crowd) buyers(n int) []*purchase {
	list := make([]*purchase, n)
	var wg sync.WaitGroup
	for i := range list {
		wg.Go(func() {
			c.inside <- struct{}{}
			defer func() { <-c.inside }()
			token, err := c.sh.tryLogin(fmt.Sprintf("buyer-%d", i), "buyer")
			if err != nil {
				c.sh.tb.Error(err)
			}
			list[i] = &purchase{token: token, key: fmt.Sprintf("key-%d", i)}
		})
	}
	wg.Wait()
	return list
}

// buy starts all purchases, each with one key. It returns when all have a decision, or soon after ctx is done.
func (c *crowd) buy(ctx context.Context, purchases []*purchase) {
	ctx, cancel := context.WithTimeout(ctx, buyerPatience)
	defer cancel()
	// The pause grows, as Retry-After asks for a second and more: thousands of buyers that come again at once would take
	// the machine from the shop, which refuses thousands a second meanwhile.
	pause := wait.Backoff{First: 500 * time.Millisecond, Max: 4 * time.Second}
	var wg sync.WaitGroup
	for i, p := range purchases {
		wg.Go(func() {
			p.result = undecided
			for try := 0; ctx.Err() == nil && p.result == undecided; try++ { // each retry uses another gateway
				if !c.ask(ctx, p, c.sh.gateways[(i+try)%len(c.sh.gateways)]) {
					_ = pause.Sleep(ctx, try+1)
				}
			}
		})
	}
	wg.Wait()
	c.client.CloseIdleConnections()
}

// ask sends p's request once and reports whether the answer decides the order.
func (c *crowd) ask(ctx context.Context, p *purchase, gateway *service) (decided bool) {
	c.inside <- struct{}{}
	defer func() { <-c.inside }()
	a, err := c.sh.callWith(ctx, c.client, gateway, http.MethodPost, "/v1/orders", p.token,
		fmt.Sprintf(`{"items":[{"sku":%q,"quantity":1}]}`, c.sku), "Idempotency-Key", p.key)
	switch code := a.code(); {
	case err == nil && a.Status == http.StatusCreated:
		p.result, p.orderNo = boughtUnit, a.order(c.sh.tb).OrderNo
		c.placed.Add(1)
		return true
	case err == nil && a.Status == http.StatusConflict && code == "out_of_stock":
		p.result, p.orderNo = soldOut, a.problemOrder()
		c.refused.Add(1)
		return true
	case err == nil && a.Status == http.StatusConflict && code == "order_ended": // abandoned, which frees its key
		c.ended.Add(1)
	case err == nil && a.Status != http.StatusAccepted && a.Status != http.StatusTooManyRequests && a.Status < http.StatusInternalServerError:
		c.sh.tb.Errorf("buyer %s got an answer that nobody expects: %d %s", p.key, a.Status, a.Body)
	}
	c.repeated.Add(1)
	if err != nil && !errors.Is(err, syscall.ECONNREFUSED) || a.Status == http.StatusAccepted || a.ambiguous() {
		c.ambiguous.Add(1)
	}
	return false
}

// problemOrder returns the order number in a problem's details, or "".
func (a answer) problemOrder() string {
	var p struct {
		Details struct {
			OrderNo string `json:"order_no"`
		} `json:"details"`
	}
	if err := json.Unmarshal(a.Body, &p); err != nil {
		return ""
	}
	return p.Details.OrderNo
}

// ambiguous returns the problem's member of that name.
func (a answer) ambiguous() bool {
	var p struct {
		Ambiguous bool `json:"ambiguous"`
	}
	return json.Unmarshal(a.Body, &p) == nil && p.Ambiguous
}

func (c *crowd) String() string {
	return fmt.Sprintf("%d placed, %d refused, %d abandoned; %d requests repeated, %d of them ambiguous",
		c.placed.Load(), c.refused.Load(), c.ended.Load(), c.repeated.Load(), c.ambiguous.Load())
}
