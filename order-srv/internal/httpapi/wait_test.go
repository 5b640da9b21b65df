package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/httpapi"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/internal/waiting"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/admit"
	"holdfast/sql"
)

// waitWorld is a world of two replicas whose orders stay PENDING.
type waitWorld struct {
	*world
	here, there *app.App
}

func newWaitWorld(t *testing.T, most int, reading *admit.Limiter) *waitWorld {
	t.Helper()
	w := newBlindWorld(t, most, reading)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { w.here.Waiting.Run(ctx) })
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	return w
}

// newBlindWorld is a waitWorld in which this replica does not look for what the other one decides.
func newBlindWorld(t *testing.T, most int, reading *admit.Limiter) *waitWorld {
	t.Helper()
	dsn, inventory := dbtest.NewDSN(t, sql.Orders()), ordertest.NewInventory(t)
	open := func() *app.App {
		return ordertest.Open(t, dsn, inventory, &ordertest.Broker{}, ordertest.Timeout(time.Second), func(cfg *app.Config) {
			cfg.OrderFlow, cfg.MaxWaiting = "queue", most
		})
	}
	w := &waitWorld{here: open(), there: open()}
	cfg := w.here.HTTP
	cfg.Engine.Credentials, cfg.Reading = nil, reading
	server := httptest.NewServer(httpapi.New(cfg))
	t.Cleanup(server.Close)
	w.world = &world{t: t, url: server.URL, store: w.here.Orders, shutdown: server.Close}
	return w
}

// pending places an order and returns its address.
func (w *waitWorld) pending(key string) (orderNo, path string) {
	w.t.Helper()
	r := w.call(http.MethodPost, "/v1/orders", "ann", strings.Replace(one, `"k"`, fmt.Sprintf("%q", key), 1))
	if r.status != http.StatusAccepted {
		w.t.Fatalf("%d %s", r.status, r.body)
	}
	return r.order(w.t).OrderNo, r.header.Get("Location")
}

// reject decides an order.
func (w *waitWorld) reject(a *app.App, orderNo string) {
	w.t.Helper()
	if _, err := ordertest.Reject(w.t.Context(), a.Orders, orderNo, store.Rejection{Refusal: orderapi.ErrBrokerUnavailable}); err != nil {
		w.t.Error(err)
	}
}

// TestGet_wait has clients wait for orders. The time-out of other requests is one second.
func TestGet_wait(t *testing.T) {
	t.Parallel()
	w := newWaitWorld(t, 0, nil)
	for name, tt := range map[string]struct {
		wait     string
		decide   func(orderNo string)
		status   string
		from, to time.Duration // since the request
	}{
		"decided here":      {"20s", func(no string) { w.reject(w.here, no) }, orderapi.StatusRejected, 0, 15 * time.Second},
		"decided elsewhere": {"20s", func(no string) { w.reject(w.there, no) }, orderapi.StatusRejected, 0, 15 * time.Second},
		"not decided":       {"1500ms", nil, orderapi.StatusPending, 1500 * time.Millisecond, 15 * time.Second},
	} {
		no, path := w.pending(strings.ReplaceAll(name, " ", "-"))
		var deciding sync.WaitGroup
		if tt.decide != nil {
			deciding.Go(func() {
				time.Sleep(50 * time.Millisecond) // most of the time the request waits by then
				tt.decide(no)
			})
		}
		begin := time.Now()
		r := w.call(http.MethodGet, path+"?wait="+tt.wait, "ann", "")
		took := time.Since(begin)
		deciding.Wait()
		if r.status != http.StatusOK || r.order(t).Status != tt.status || took < tt.from || took > tt.to {
			t.Errorf("%s: %d %s after %v; want %s after %v to %v", name, r.status, r.body, took, tt.status, tt.from, tt.to)
		}
	}
	no, path := w.pending("decided")
	w.reject(w.there, no)
	begin := time.Now()
	if r := w.call(http.MethodGet, path+"?wait=30s", "ann", ""); r.order(t).Status != orderapi.StatusRejected || time.Since(begin) > 15*time.Second {
		t.Errorf("decided before: %s after %v", r.body, time.Since(begin))
	}
	for _, bad := range []string{"0s", "-1s", "31s", "30.001s", "2", "soon", ""} {
		if r := w.call(http.MethodGet, path+"?wait="+bad, "ann", ""); r.status != http.StatusBadRequest || r.code() != "invalid_parameter" || !strings.Contains(r.body, `"parameter":"wait"`) {
			t.Errorf("wait=%s: %d %s", bad, r.status, r.body)
		}
	}
	for _, p := range []string{path, "/v1/orders/NOPE"} {
		if r := w.call(http.MethodGet, p+"?wait=20s", "bob", ""); r.status != http.StatusNotFound || r.code() != "unknown_order" {
			t.Errorf("somebody else's order: %d %s", r.status, r.body)
		}
	}
}

// TestGet_waitPlaces: requests that wait take no slot of the others. One more than there are places for is answered at
// once, and a client that hangs up leaves its place.
func TestGet_waitPlaces(t *testing.T) {
	t.Parallel()
	w := newWaitWorld(t, 1, admit.New(admit.Config{Max: 1, MaxWait: time.Millisecond}))
	no, path := w.pending("k")
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path+"?wait=30s", nil)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("X-User-ID", "ann")
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
			t.Errorf("the request was answered %d", res.StatusCode)
		}
	})
	testkit.EventuallyTrue(t, 10*time.Second, "the request waits", func() bool { return !free(w.here.Waiting) })
	begin := time.Now()
	for _, p := range []string{path, path + "?wait=30s"} { // both take the slot of reading
		if r := w.call(http.MethodGet, p, "ann", ""); r.status != http.StatusOK || r.order(t).Status != orderapi.StatusPending {
			t.Errorf("%s: %d %s", p, r.status, r.body)
		}
	}
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("without a place: answered after %v", took)
	}
	cancel()
	running.Wait()
	testkit.EventuallyTrue(t, 10*time.Second, "the place is free", func() bool { return free(w.here.Waiting) })
	w.reject(w.here, no)
}

// TestGet_waitStop: a request that waits is answered when the service begins to stop.
func TestGet_waitStop(t *testing.T) {
	t.Parallel()
	w := newWaitWorld(t, 1, nil)
	_, path := w.pending("k")
	begin := time.Now()
	var running sync.WaitGroup
	running.Go(func() {
		if r := w.call(http.MethodGet, path+"?wait=30s", "ann", ""); r.status != http.StatusOK || r.order(t).Status != orderapi.StatusPending {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
	testkit.EventuallyTrue(t, 10*time.Second, "the request waits", func() bool { return !free(w.here.Waiting) })
	w.here.Waiting.Close()
	running.Wait()
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("answered after %v", took)
	}
}

// free reports whether the room has a place.
func free(room *waiting.Room) bool {
	leave, ok := room.Enter()
	if ok {
		leave()
	}
	return ok
}

// TestGet_waitLocal: what this replica decides wakes the request without a look at the database: by the resolver, and
// by the sweeper.
func TestGet_waitLocal(t *testing.T) {
	t.Parallel()
	w := newBlindWorld(t, 1, nil)
	for status, decide := range map[string]func(orderNo string){
		orderapi.StatusRejected: func(no string) { w.reject(w.here, no) },
		orderapi.StatusAbandoned: func(no string) {
			if n, err := w.here.Orders.Abandon(t.Context(), []string{no}, 0, false, store.Sweeper); n != 1 || err != nil {
				t.Errorf("abandoned %d, error %v", n, err)
			}
		},
	} {
		no, path := w.pending(status)
		begin := time.Now()
		var running sync.WaitGroup
		running.Go(func() {
			if r := w.call(http.MethodGet, path+"?wait=30s", "ann", ""); r.status != http.StatusOK || r.order(t).Status != status {
				t.Errorf("%d %s, want %s", r.status, r.body, status)
			}
		})
		testkit.EventuallyTrue(t, 10*time.Second, "the request waits", func() bool { return w.here.Waiting.WaitsFor(no) })
		decide(no)
		running.Wait()
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("%s: answered after %v", status, took)
		}
	}
}
