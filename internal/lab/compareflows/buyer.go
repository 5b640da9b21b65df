package compareflows

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
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
	url, token, basket string
	http               *http.Client
}

func newBuyer(c *shop.Client, sku string) *buyer {
	return &buyer{
		url: c.URL, token: c.Token, basket: load.Basket(sku),
		http: &http.Client{Timeout: timeout, Transport: &http.Transport{MaxIdleConns: idle, MaxIdleConnsPerHost: idle}},
	}
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
	order, problem, err := b.call(ctx, http.MethodPost, "/v1/orders", b.basket, header.IdempotencyKey, ulid.Make().String(), header.Flow, flow)
	o.first = time.Since(begin)
	switch {
	case err != nil:
		o.refusal = "no answer"
		return o
	case problem != "":
		o.refusal = problem
		return o
	}
	o.orderNo, o.status = order.OrderNo, order.Status
	for o.status == orderapi.StatusPending {
		order, problem, err := b.call(ctx, http.MethodGet, "/v1/orders/"+o.orderNo+"?wait="+followWait, "")
		if err == nil && problem == "" {
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
	_, problem, err := b.call(ctx, http.MethodPost, "/v1/orders/"+orderNo+"/"+what, "")
	if err == nil && problem != "" {
		err = fmt.Errorf("answered with %s", problem)
	}
	if err != nil {
		return fmt.Errorf("%s of order %s: %w", what, orderNo, err)
	}
	return nil
}

// call sends a request. problem is the code of a refusal. headers are names and values in turn.
func (b *buyer) call(ctx context.Context, method, path, body string, headers ...string) (o orderapi.Order, problem string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, b.url+path, strings.NewReader(body))
	if err != nil {
		return o, "", err
	}
	req.Header.Set("Authorization", "Bearer "+b.token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := b.http.Do(req)
	if err != nil {
		return o, "", err
	}
	defer res.Body.Close() //nolint:errcheck // read only
	content, err := io.ReadAll(res.Body)
	if err != nil {
		return o, "", err
	}
	if res.StatusCode < http.StatusBadRequest {
		return o, "", json.Unmarshal(content, &o)
	}
	var p fault.Problem
	if json.Unmarshal(content, &p) != nil || p.Code == "" {
		return o, res.Status, nil
	}
	return o, p.Code, nil
}
