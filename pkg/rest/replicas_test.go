package rest_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/fault"
	"holdfast/pkg/rest"
)

func TestClient_Do_goesRoundTheURLs(t *testing.T) {
	t.Parallel()
	var first, second atomic.Int32
	a := serve(t, func(http.ResponseWriter, *http.Request) { first.Add(1) })
	b := serve(t, func(http.ResponseWriter, *http.Request) { second.Add(1) })
	c := client(t, rest.Config{URLs: []string{a.URL, b.URL}})
	for range 20 {
		if err := c.Do(t.Context(), "POST", "/", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if first.Load() != 10 || second.Load() != 10 {
		t.Errorf("the URLs got %d and %d calls, want 10 each", first.Load(), second.Load())
	}
	a.Close()
	// Its idle connections: a request that meets the closing of one has an unknown outcome, which is not the matter here.
	c.Close()
	for range 20 {
		if err := c.Do(t.Context(), "POST", "/", nil, nil); err != nil {
			t.Fatalf("one replica is down: %v", err)
		}
	}
	if second.Load() != 30 {
		t.Errorf("the replica that is left got %d calls, want 30", second.Load())
	}
}

// listenOn serves on one address of a port, as a replica of a name does.
func listenOn(tb testing.TB, addr string, calls *atomic.Int32) (port string) {
	tb.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		tb.Skipf("this machine cannot listen on %s: %v", addr, err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Host, "stock:") {
			tb.Errorf("Host is %q, want the name", r.Host)
		}
		calls.Add(1)
	}))
	_ = s.Listener.Close()
	s.Listener = ln
	s.Start()
	tb.Cleanup(s.Close)
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port
}

func TestClient_Do_goesRoundTheAddressesOfAName(t *testing.T) {
	t.Parallel()
	var calls [2]atomic.Int32
	port := listenOn(t, "127.0.0.1:0", &calls[0])
	listenOn(t, "127.0.0.2:"+port, &calls[1])
	var lookups atomic.Int32
	c := client(t, rest.Config{
		URLs: []string{"http://stock:" + port},
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			ips := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}
			if n := lookups.Add(1); host != "stock" || n%2 == 0 {
				ips[0], ips[1] = ips[1], ips[0] // resolvers shuffle
			}
			return ips, nil
		},
	})
	for range 20 {
		if err := c.Do(t.Context(), "POST", "/", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if calls[0].Load() != 10 || calls[1].Load() != 10 {
		t.Errorf("the replicas got %d and %d calls, want 10 each", calls[0].Load(), calls[1].Load())
	}
	if n := lookups.Load(); n != 1 {
		t.Errorf("the name was looked up %d times within a moment, want once", n)
	}
}

// TestClient_Do_replicaHasMoved: a container that was replaced has another address. The name is resolved again when no
// address answers, and not in each call while nothing does.
func TestClient_Do_replicaHasMoved(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	port := listenOn(t, "127.0.0.2:0", &calls)
	var lookups atomic.Int32
	var moved atomic.Bool
	c := client(t, rest.Config{
		URLs: []string{"http://stock:" + port},
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			lookups.Add(1)
			if moved.Load() {
				return []netip.Addr{netip.MustParseAddr("127.0.0.2")}, nil
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil // nobody listens there
		},
	})
	for range 20 {
		wantFault(t, c.Do(t.Context(), "POST", "/", nil, nil), "stock_srv_unavailable", fault.Unavailable, false)
	}
	if n := lookups.Load(); n > 2 {
		t.Errorf("the name was looked up %d times within a moment, want once", n)
	}
	moved.Store(true)
	testkit.EventuallyTrue(t, 3*time.Second, "the new address is found before the old one expires", func() bool {
		return c.Do(t.Context(), "POST", "/", nil, nil) == nil
	})
	if n := calls.Load(); n != 1 {
		t.Errorf("the replica got %d calls, want 1", n)
	}
}

// TestClient_Do_avoidsABadReplica: after a replica has failed one call, the next calls avoid it. The failed call
// returns the true outcome, and nothing is sent twice.
func TestClient_Do_avoidsABadReplica(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		code    string // of the call that met it; "" is success
	}{
		{"breaks off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "stock_srv_unavailable"},
		{"hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "stock_srv_timeout"},
		{"cannot serve", func(w http.ResponseWriter, _ *http.Request) { unavailable(w, false) }, ""},
		{"is stopping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var met, good atomic.Int32
			bad := serve(t, func(w http.ResponseWriter, r *http.Request) {
				met.Add(1)
				tt.handler(w, r)
			})
			other := serve(t, func(http.ResponseWriter, *http.Request) { good.Add(1) })
			c := client(t, rest.Config{URLs: []string{bad.URL, other.URL}})
			for met.Load() == 0 {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				err := c.Do(ctx, "POST", "/", nil, nil)
				cancel()
				if met.Load() == 1 && tt.code != "" {
					wantFault(t, err, tt.code, fault.From(err).Kind, true)
				} else if err != nil {
					t.Fatal(err)
				}
			}
			before := good.Load()
			for range 10 { // in much less time than it is avoided for
				if err := c.Do(t.Context(), "POST", "/", nil, nil); err != nil {
					t.Fatal(err)
				}
			}
			if good.Load()-before != 10 || met.Load() != 1 {
				t.Errorf("the good replica got %d of 10 calls, the bad one %d in all", good.Load()-before, met.Load())
			}
		})
	}
}

// TestClient_Do_perhapsExecuted: a replica that cannot say that it has done nothing is not the other one's business.
func TestClient_Do_perhapsExecuted(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	maybe := func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		unavailable(w, true)
	}
	c := client(t, rest.Config{URLs: []string{serve(t, maybe).URL, serve(t, maybe).URL}})
	wantFault(t, c.Do(t.Context(), "POST", "/", nil, nil), "broker_unavailable", fault.Unavailable, true)
	if asked.Load() != 1 {
		t.Errorf("%d replicas were asked, want one", asked.Load())
	}
}

// unavailable answers that the service cannot serve.
func unavailable(w http.ResponseWriter, ambiguous bool) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = fmt.Fprintf(w, `{"code":"broker_unavailable","kind":"unavailable","ambiguous":%t}`, ambiguous)
}

// TestClient_Do_allReplicasUnavailable: when all replicas refuse, the caller gets the answer of the last one.
func TestClient_Do_allReplicasUnavailable(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	down := func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		unavailable(w, false)
	}
	c := client(t, rest.Config{URLs: []string{serve(t, down).URL, serve(t, down).URL}})
	wantFault(t, c.Do(t.Context(), "POST", "/", nil, nil), "broker_unavailable", fault.Unavailable, false)
	if asked.Load() != 2 {
		t.Errorf("%d replicas were asked, want both, once", asked.Load())
	}
}
