package load_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/lab/load"
)

// orders returns a target whose server counts the orders and calls fn with the number of each.
func orders(t *testing.T, fn func(n int64)) (to load.Target, received *atomic.Int64) {
	t.Helper()
	received = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost { // opens the connection
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fn(received.Add(1))
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(s.Close)
	return load.Target{Addr: strings.TrimPrefix(s.URL, "http://"), Name: "S", Tokens: []string{"a"}, Baskets: []string{load.Basket("A")}}, received
}

// finish returns the tally of a load that must end soon, although its time is an hour.
func finish(t *testing.T, run func() (*load.Tally, time.Duration)) (*load.Tally, time.Duration) {
	t.Helper()
	type result struct {
		tally *load.Tally
		took  time.Duration
	}
	done := make(chan result, 1)
	go func() {
		tally, took := run()
		done <- result{tally, took}
	}()
	select {
	case r := <-done:
		return r.tally, r.took
	case <-time.After(30 * time.Second):
		t.Fatal("the load goes on after its context was cancelled")
		return nil, 0
	}
}

// TestRun_Closed_cancelled: a load that is cancelled in its warm-up ends, and has counted nothing.
func TestRun_Closed_cancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	to, received := orders(t, func(n int64) {
		if n == 5 {
			cancel()
		}
	})
	got, _ := finish(t, func() (*load.Tally, time.Duration) {
		return load.Run{Target: to, Name: "r", Connections: 3, Time: time.Hour, Deadline: time.Minute}.Closed(ctx)
	})
	if received.Load() < 5 || got.Good.Load()+got.Late.Load() > 3 { // each connection may end one order afterwards
		t.Errorf("counted %d of %d orders, and all of them began in the warm-up", got.Good.Load()+got.Late.Load(), received.Load())
	}
}

// TestRun_Open_cancelled: a load that is cancelled gives no further orders, and the answers of all that were given are
// counted.
func TestRun_Open_cancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	to, received := orders(t, func(n int64) {
		if n == 20 {
			cancel()
		}
	})
	got, took := finish(t, func() (*load.Tally, time.Duration) {
		return load.Run{Target: to, Name: "r", Connections: 4, Time: time.Hour, Deadline: time.Minute}.Open(ctx, 100)
	})
	if sent := got.Sent.Load(); sent < 20 || sent != received.Load() || got.Good.Load() != sent {
		t.Errorf("sent %d orders, %d of them were placed; the server received %d", sent, got.Good.Load(), received.Load())
	}
	if took >= time.Hour {
		t.Errorf("orders were due for %v", took)
	}
}

// TestRun_noServer: orders without an answer are broken, in both loops.
func TestRun_noServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	run := load.Run{
		Target: load.Target{Addr: addr, Name: "S", Tokens: []string{"a"}, Baskets: []string{load.Basket("A")}},
		Name:   "r", Connections: 2, Time: 2 * time.Second, Deadline: time.Minute,
	}
	closed, _ := run.Closed(t.Context())
	if n := closed.Broken.Load(); n == 0 || n != closed.Sent.Load() {
		t.Errorf("closed loop: %d of %d orders are broken", n, closed.Sent.Load())
	}
	run.Time = 200 * time.Millisecond
	open, _ := run.Open(t.Context(), 100)
	if n := open.Broken.Load(); n == 0 || n != open.Sent.Load() || n+open.Unsent.Load() != 20 {
		t.Errorf("open loop: %d of %d orders are broken, %d unsent; want 20 in all", n, open.Sent.Load(), open.Unsent.Load())
	}
}
