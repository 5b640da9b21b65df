package compareflows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/internal/lab/load"
	"holdfast/internal/lab/shop"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/wait"
)

const (
	followWait = "10s"                  // how long one request waits for the decision
	retryPause = 100 * time.Millisecond // after a request that was not answered with a decision
	timeout    = 30 * time.Second       // of one request
	idle       = 512                    // connections that a buyer keeps: in an outage many requests wait
)

// buyer places orders and follows each of them until it is decided.
type buyer struct {
	*shop.Client
	basket string
}

func newBuyer(c *shop.Client, sku string) *buyer {
	c.HTTP = &http.Client{Timeout: timeout, Transport: &http.Transport{MaxIdleConns: idle, MaxIdleConnsPerHost: idle}}
	return &buyer{c, load.Basket(sku)}
}

// outcome is what a client has learnt about one order.
type outcome struct {
	by      *buyer
	first   time.Duration // until the first answer
	known   time.Duration // until the answer that decides the order; 0: it is not decided, or was not taken
	orderNo string        // "": the order was not taken
	status  string        // the last one that was answered
	refusal string        // the code of the problem with which the order was not taken
}

// placed reports whether the client has got the order.
func (o outcome) placed() bool { return o.status == orderapi.StatusPlaced }

// order places an order in a flow and waits until it is decided or ctx is done.
func (b *buyer) order(ctx context.Context, flow string) (o outcome) {
	o.by = b
	begin := time.Now()
	var order orderapi.Order
	err := b.Do(ctx, http.MethodPost, "/v1/orders", json.RawMessage(b.basket), &order, header.IdempotencyKey, ulid.Make().String(), header.Flow, flow)
	o.first = time.Since(begin)
	if err != nil {
		o.refusal = codeOf(err)
		return o
	}
	o.orderNo, o.status = order.OrderNo, order.Status
	for o.status == orderapi.StatusPending {
		if b.Do(ctx, http.MethodGet, "/v1/orders/"+o.orderNo+"?wait="+followWait, nil, &order) == nil {
			o.status = order.Status
		}
		if o.status != orderapi.StatusPending {
			break
		}
		// A service with too many waiting requests answers at once, and one that stops answers with a problem.
		if wait.Sleep(ctx, retryPause) != nil {
			return o
		}
	}
	o.known = time.Since(begin)
	return o
}

// end pays or cancels an order.
func (b *buyer) end(ctx context.Context, orderNo, what string) error {
	if err := b.Do(ctx, http.MethodPost, "/v1/orders/"+orderNo+"/"+what, nil, nil); err != nil {
		return fmt.Errorf("%s of order %s: %w", what, orderNo, err)
	}
	return nil
}

// codeOf is the code of the problem with which a request was refused, or what stands for an answer that did not come.
func codeOf(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Code
	}
	return "no answer"
}
