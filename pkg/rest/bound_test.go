package rest_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/admit"
	"holdfast/pkg/fault"
	"holdfast/pkg/rest"
)

// An overloaded replica's refusal is an answer. Carried to the other replicas, one request would be refused by all of
// them, and overload would multiply the load.
func TestClient_Do_overloadIsNotCarriedToAnotherReplica(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	busy := func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusTooManyRequests)
		_ = json.NewEncoder(w).Encode(fault.ToProblem(admit.ErrOverloaded))
	}
	c := client(t, rest.Config{URLs: []string{serve(t, busy).URL, serve(t, busy).URL, serve(t, busy).URL}})
	err := c.Do(t.Context(), "POST", "/", nil, nil)
	wantFault(t, err, "overloaded", fault.Limited, false)
	if n := calls.Load(); n != 1 {
		t.Errorf("%d replicas were asked, want 1", n)
	}
}

// Calls beyond the connections wait, and one whose time ends while it waits was not executed.
func TestClient_Do_boundsItsConnections(t *testing.T) {
	t.Parallel()
	const bound, calls = 2, 6
	var open, most atomic.Int32
	end := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			most.Store(max(most.Load(), open.Add(1)))
		case http.StateClosed:
			open.Add(-1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := client(t, rest.Config{URLs: []string{s.URL}, MaxConns: bound, Timeout: time.Minute})

	var served sync.WaitGroup
	for range bound {
		served.Go(func() {
			if err := c.Do(t.Context(), "POST", "/", nil, nil); err != nil {
				t.Errorf("a call with a connection: %v", err)
			}
		})
	}
	testkit.EventuallyTrue(t, 10*time.Second, "all connections are open", func() bool { return open.Load() >= bound })
	var waiting sync.WaitGroup
	for range calls - bound {
		waiting.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			wantFault(t, c.Do(ctx, "POST", "/", nil, nil), "stock_srv_timeout", fault.Timeout, false)
		})
	}
	waiting.Wait()
	close(end)
	served.Wait()
	if n := most.Load(); n != bound {
		t.Errorf("%d connections, want %d", n, bound)
	}
	if err := c.Do(t.Context(), "POST", "/", nil, nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
