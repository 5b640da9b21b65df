package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
	"holdfast/order-srv/orderapi/apitest"
	"holdfast/pkg/admit"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/web"
)

// answers has each kind of answer of order-srv, by the key of the order. Each names the user and the request.
func answers(w http.ResponseWriter, r *http.Request) {
	var in orderapi.PlaceRequest
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &in); err != nil {
		panic(err)
	}
	refusals := map[string]*fault.Error{
		"sold-out":  inventoryapi.ErrOutOfStock.With("short", []any{map[string]any{"sku": "<A>", "requested": 2.0, "available": 1.0}}),
		"mismatch":  orderapi.ErrIdempotency,
		"contended": inventoryapi.ErrContended,
		"limited":   admit.ErrOverloaded,
		"broker":    orderapi.ErrBrokerUnavailable,
		"unknown":   fault.New(fault.Unavailable, "commit_unknown", "who knows"),
		"late":      fault.ErrTimeout,
		"bug":       fault.ErrInternal,
		"invalid":   fault.New(fault.Invalid, "unknown_flow", "no such flow"),
		"bad-lines": inventoryapi.ErrInvalidLines,
	}
	who := r.Header.Get(header.UserID) + "/" + r.Header.Get(header.RequestID)
	if f, refused := refusals[in.IdempotencyKey]; refused {
		p := fault.ToProblem(f.With("who", who))
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(web.Status(f.Kind))
		_ = json.NewEncoder(w).Encode(p)
		return
	}
	o := placed()
	o.Reason = who
	if in.IdempotencyKey == "pending" {
		o.Status = orderapi.StatusPending
		w.WriteHeader(http.StatusAccepted)
	} else {
		w.WriteHeader(http.StatusCreated)
	}
	_ = json.NewEncoder(w).Encode(o)
}

// TestPlaceOrder_gathered sends orders of many users at the same time through a gateway that gathers them. Each answer
// is byte by byte the one of a gateway that sends them one by one, with the same headers, and is its user's.
func TestPlaceOrder_gathered(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	batches := 0
	orders := apitest.Batches(http.HandlerFunc(answers))
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/batch") {
			mu.Lock()
			batches++
			mu.Unlock()
		}
		time.Sleep(5 * time.Millisecond) // others come meanwhile
		orders.ServeHTTP(w, r)
	}))
	t.Cleanup(back.Close)
	alone := open(t, options{orders: back.URL, timeout: time.Minute}, nil, nil)
	gathered := open(t, options{orders: back.URL, timeout: time.Minute, gather: true}, nil, nil)
	keys := []string{
		"placed", "pending", "sold-out", "mismatch", "contended", "limited", "broker", "unknown", "late", "bug", "invalid", "bad-lines",
	}
	var running sync.WaitGroup
	for round := range 8 {
		for _, key := range keys {
			running.Go(func() {
				user, id := fmt.Sprintf("user-%d-%s", round, key), fmt.Sprintf("id-%d-%s", round, key)
				send := func(d *door) answer {
					return d.do("POST", "/v1/orders", one, d.token(user, "buyer"), "Idempotency-Key: "+key, "X-Request-ID: "+id)
				}
				got, want := send(gathered), send(alone)
				if got.status != want.status || got.body != want.body {
					t.Errorf("%s: gathered %d %s\nalone %d %s", key, got.status, got.body, want.status, want.body)
				}
				for _, name := range []string{"Content-Type", "Location", "Retry-After", "X-Request-Id"} {
					if got.header.Get(name) != want.header.Get(name) {
						t.Errorf("%s: %s is %q, and alone %q", key, name, got.header.Get(name), want.header.Get(name))
					}
				}
				if !strings.Contains(got.body, user+"/"+id) {
					t.Errorf("%s of %s got %s", key, user, got.body)
				}
			})
		}
	}
	running.Wait()
	if batches == 0 {
		t.Error("no orders came together")
	}
}
