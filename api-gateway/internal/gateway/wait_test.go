package gateway_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/order-srv/orderapi"
)

func pending() orderapi.Order {
	return orderapi.Order{OrderNo: "01ORDER", Status: orderapi.StatusPending, Items: []orderapi.Item{{SKU: "A", Quantity: 2}}}
}

// slowOrders is an order-srv that lets requests wait, and answers the others at once.
type slowOrders struct {
	*backend
	waits time.Duration
	begun chan struct{} // has a value when a request waits
	gone  chan struct{} // has a value when a caller was gone before the answer
}

func (s slowOrders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("wait") {
		s.begun <- struct{}{}
		select {
		case <-time.After(s.waits):
		case <-r.Context().Done():
			s.gone <- struct{}{}
		}
	}
	s.backend.ServeHTTP(w, r)
}

// openSlow is a gateway in front of a slow order-srv.
func openSlow(t *testing.T, o options, waits time.Duration) (*door, slowOrders) {
	t.Helper()
	s := slowOrders{waits: waits, begun: make(chan struct{}, 1), gone: make(chan struct{}, 1), backend: newBackend(t, map[string]any{
		"GET /v1/orders/01ORDER": pending(), "GET /v1/orders/01ORDER?wait=2s": placed(), "GET /v1/orders/01ORDER?wait=30s": placed(),
	})}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	o.orders = server.URL
	return open(t, o, nil, nil), s
}

// TestGetOrder_wait: order-srv waits for longer than other requests may take, also than a call of the client.
func TestGetOrder_wait(t *testing.T) {
	t.Parallel()
	d, s := openSlow(t, options{timeout: time.Second}, 1500*time.Millisecond)
	wantBody(t, d.do("GET", "/v1/orders/01ORDER?wait=2s", "", d.token("ann", "buyer")), 200, placed())
	wantBody(t, d.do("GET", "/v1/orders/01ORDER", "", d.token("ann", "buyer")), 200, pending())
	if got := s.seen(); len(got) != 2 || got[0].header.Get("X-User-ID") != "ann" {
		t.Errorf("order-srv was asked %v", got)
	}
}

// TestGetOrder_waitPlaces: a request for which there is no place is answered at once, and one that hangs up leaves its
// place, here and at order-srv.
func TestGetOrder_waitPlaces(t *testing.T) {
	t.Parallel()
	d, s := openSlow(t, options{maxWaiting: 1}, time.Hour)
	token := d.token("ann", "buyer")
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+"/v1/orders/01ORDER?wait=30s", nil)
		if err != nil {
			t.Error(err)
			return
		}
		name, value, _ := strings.Cut(token, ": ")
		req.Header.Set(name, value)
		if res, err := d.client.Do(req); err == nil {
			_ = res.Body.Close()
			t.Errorf("the request was answered %d", res.StatusCode)
		}
	})
	<-s.begun
	wantBody(t, d.do("GET", "/v1/orders/01ORDER?wait=30s", "", token), 200, pending())
	cancel()
	running.Wait()
	<-s.gone
}

// TestGetOrder_waitStop: a request that waits is answered with the order as it is when the gateway begins to stop.
func TestGetOrder_waitStop(t *testing.T) {
	t.Parallel()
	stopping := make(chan struct{})
	d, s := openSlow(t, options{stopping: stopping}, time.Hour)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		<-s.begun
		close(stopping)
	})
	wantBody(t, d.do("GET", "/v1/orders/01ORDER?wait=30s", "", d.token("ann", "buyer")), 200, pending())
	<-s.gone
}
