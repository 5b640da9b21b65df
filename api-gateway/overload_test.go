package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi/apitest"
)

// slowOrders is an order-srv whose placing takes until the test lets it end. Everything else is answered at once.
type slowOrders struct {
	placing atomic.Int32
	end     chan struct{}
}

func (s *slowOrders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost && r.URL.Path == "/v1/orders" {
		s.placing.Add(1)
		<-s.end
		w.WriteHeader(http.StatusCreated)
	}
	_, _ = io.WriteString(w, `{"order_no":"01ORDER","status":"PLACED"}`)
}

// start runs the gateway in front of orders and returns its address and a buyer's token.
func start(t *testing.T, orders http.Handler, more map[string]string) (url, token string) {
	t.Helper()
	back := httptest.NewServer(apitest.Batches(orders))
	t.Cleanup(back.Close)
	vars := map[string]string{
		"DEMO_LOGIN": "true", "HTTP_ADDR": "127.0.0.1:0", "OPS_ADDR": "127.0.0.1:0", "DRAIN_DELAY": "0s",
		"INVENTORY_URLS": back.URL, "ORDER_URLS": back.URL,
	}
	for k, v := range more {
		vars[k] = v
	}
	ctx, stop := context.WithCancel(context.Background())
	var log testkit.Buffer
	done := make(chan error, 1)
	go func() { done <- run(ctx, nil, env(vars), &log) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	addr, _ := serving(t, &log)
	res := call(t, "POST", "http://"+addr+"/v1/login", "", `{"user":"ann","role":"buyer"}`)
	var in struct{ Token string }
	if err := json.Unmarshal([]byte(res.body), &in); err != nil {
		t.Fatal(err)
	}
	return "http://" + addr, in.Token
}

type result struct {
	status int
	header http.Header
	body   string
}

func call(t *testing.T, method, url, token, body string) result {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Idempotency-Key", "k")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return result{}
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return result{res.StatusCode, res.Header, string(b)}
}

// TestRun_overload has more orders arrive than the gateway may have in flight: order-srv receives no more than the
// limit, the others are refused with 429, and paying and reading go on.
func TestRun_overload(t *testing.T) {
	t.Parallel()
	const limit, buyers = 4, 20
	orders := &slowOrders{end: make(chan struct{})}
	url, token := start(t, orders, map[string]string{"MAX_PLACING": "4", "MAX_CHANGING": "4", "MAX_READING": "4"})
	results := make(chan result, buyers)
	var running sync.WaitGroup
	for range buyers {
		running.Go(func() {
			results <- call(t, "POST", url+"/v1/orders", token, `{"items":[{"sku":"A","quantity":1}]}`)
		})
	}
	for range buyers - limit {
		select {
		case r := <-results:
			if r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") == "" || !strings.Contains(r.body, `"overloaded"`) {
				t.Errorf("got %d %v %s, want 429 overloaded with Retry-After", r.status, r.header, r.body)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("order-srv has %d orders, want %d and the others refused", orders.placing.Load(), limit)
			close(orders.end)
			running.Wait()
			return
		}
	}
	for path, method := range map[string]string{"/v1/orders/01ORDER": "GET", "/v1/products/A": "GET", "/v1/orders/01ORDER/payment": "POST", "/v1/orders/01ORDER/cancellation": "POST"} {
		if r := call(t, method, url+path, token, ""); r.status != http.StatusOK {
			t.Errorf("while placing is full, %s %s got %d %s", method, path, r.status, r.body)
		}
	}
	close(orders.end)
	running.Wait()
	if n := orders.placing.Load(); n != limit {
		t.Errorf("order-srv received %d orders, want %d", n, limit)
	}
}

// TestRun_clientGone has buyers hang up. Their orders are still being decided, so their slots are not free.
func TestRun_clientGone(t *testing.T) {
	t.Parallel()
	orders := &slowOrders{end: make(chan struct{})}
	url, token := start(t, orders, map[string]string{"MAX_PLACING": "1"})
	ctx, hangUp := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/orders", strings.NewReader(`{"items":[{"sku":"A","quantity":1}]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Idempotency-Key", "gone")
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
		}
	}()
	testkit.EventuallyTrue(t, 10*time.Second, "the order is being placed", func() bool { return orders.placing.Load() > 0 })
	hangUp()
	<-gone
	answered := make(chan int, 1)
	go func() {
		answered <- call(t, "POST", url+"/v1/orders", token, `{"items":[{"sku":"A","quantity":1}]}`).status
	}()
	select {
	case status := <-answered:
		if status != http.StatusTooManyRequests {
			t.Errorf("got %d, want 429", status)
		}
	case <-time.After(3 * time.Second):
		t.Errorf("order-srv has %d orders at once, want 1", orders.placing.Load())
	}
	close(orders.end)
}
