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

// crowd is buyers who behave as good clients do: each repeats its request with the same idempotency key until it has an
// answer that says how its order ended.
type crowd struct {
	sh     *shop
	client *http.Client
	sku    string
	inside chan struct{} // as many requests at once as it has room; the others queue at the door

	placed    atomic.Int64 // answers so far
	refused   atomic.Int64
	ended     atomic.Int64
	repeated  atomic.Int64 // requests that had to be sent again
	ambiguous atomic.Int64 // those of them that may have been executed
}

// The ways in which a buyer's order ends.
const (
	boughtUnit = "placed"      // 201
	soldOut    = "refused"     // 409 out_of_stock
	undecided  = "no decision" // ran out of patience, which fails the test
)

// purchase is one buyer's order.
type purchase struct {
	token, key string
	result     string
	orderNo    string // of a placed one, or of a refused one that names its order
}

// buyerPatience is how long a buyer asks. It is more than the shop takes to abandon an order and to find that out.
const buyerPatience = 2 * time.Minute

func newCrowd(sh *shop, sku string, inside int) *crowd {
	return &crowd{sh: sh, sku: sku, inside: make(chan struct{}, inside), client: &http.Client{
		Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: inside},
	}}
}

// buyers are n purchases by as many users.
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

// buy lets all of them in, each with one key, and returns when the last one has an answer, or soon after ctx is done.
func (c *crowd) buy(ctx context.Context, purchases []*purchase) {
	ctx, cancel := context.WithTimeout(ctx, buyerPatience)
	defer cancel()
	var wg sync.WaitGroup
	for i, p := range purchases {
		wg.Go(func() {
			p.result = undecided
			for try := i; ctx.Err() == nil && p.result == undecided; try++ { // another gateway each time
				if !c.ask(ctx, p, c.sh.gateways[try%len(c.sh.gateways)]) {
					_ = wait.Sleep(ctx, 200*time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	c.client.CloseIdleConnections()
}

// ask sends p's request once and reports whether the answer decides.
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

// problemOrder is the number of the order that a problem is about; empty without an order.
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

// ambiguous reports what a problem says of itself.
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
