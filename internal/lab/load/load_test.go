package load

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeShop answers orders with the given statuses in turn. It has no stock.
type fakeShop struct {
	statuses []int
	took     time.Duration
	n        atomic.Int64

	mu   sync.Mutex
	keys map[string]int
	bad  []string
}

func (f *fakeShop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(r.Body)
	f.mu.Lock()
	f.keys[r.Header.Get("Idempotency-Key")]++
	if string(body) != `{"items":[{"sku":"S","quantity":1}]}` || err != nil || r.Header.Get("Authorization") == "" || r.URL.Path != "/v1/orders" {
		f.bad = append(f.bad, fmt.Sprintf("%s %s %q", r.Method, r.URL, body))
	}
	f.mu.Unlock()
	time.Sleep(f.took)
	w.WriteHeader(f.statuses[int(f.n.Add(1)-1)%len(f.statuses)])
	_, _ = io.WriteString(w, `{"order_no":"01"}`)
}

func newFake(t *testing.T, took time.Duration, statuses ...int) (*fakeShop, Target) {
	t.Helper()
	f := &fakeShop{statuses: statuses, took: took, keys: map[string]int{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return f, Target{Addr: strings.TrimPrefix(s.URL, "http://"), Name: "S", Strategy: "for-update", Tokens: []string{"a", "b"}, Baskets: []string{Basket("S")}}
}

func (f *fakeShop) check(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, n := range f.keys {
		if n != 1 || !strings.HasPrefix(key, "S-") {
			t.Errorf("key %q was sent %d times", key, n)
		}
	}
	if len(f.bad) > 0 {
		t.Errorf("bad requests: %q", f.bad[0])
	}
}

func TestOpenLoop(t *testing.T) {
	t.Parallel()
	f, to := newFake(t, 0, 201, 429, 202, 503, 409, 500)
	got, took := Run{Target: to, Name: "open", Connections: 20, Time: 500 * time.Millisecond, Deadline: time.Minute}.Open(t.Context(), 600)
	f.check(t)
	sent := got.Sent.Load()
	if sent+got.Unsent.Load() != 300 || sent != f.n.Load() || took < 500*time.Millisecond {
		t.Errorf("sent %d, unsent %d in %v; the shop received %d, want 300", sent, got.Unsent.Load(), took, f.n.Load())
	}
	sum := int64(0)
	for name, n := range map[string]int64{
		"201": got.Good.Load() + got.Late.Load(), "429": got.Refused.Load(), "202": got.Pending.Load(),
		"503": got.Unavailable.Load(), "409": got.SoldOut.Load(), "500": got.Other.Load(),
	} {
		if n < sent/6-1 || n > sent/6+1 {
			t.Errorf("%s: %d of %d", name, n, sent)
		}
		sum += n
	}
	if sum != sent || got.Broken.Load() != 0 {
		t.Errorf("%d of %d answers are counted, %d had none", sum, sent, got.Broken.Load())
	}
}

// The shop is slower than the arrival rate. Orders that wait for a connection must stay in the statistics as late or
// unsent.
func TestOpenLoop_slowShop(t *testing.T) {
	t.Parallel()
	f, to := newFake(t, 50*time.Millisecond, 201)
	got, _ := Run{Target: to, Name: "open", Connections: 4, Time: 500 * time.Millisecond, Deadline: 60 * time.Millisecond}.Open(t.Context(), 1000)
	f.check(t)
	if got.Unsent.Load() < 300 {
		t.Errorf("unsent %d, want most of 500: 4 connections place 80 a second", got.Unsent.Load())
	}
	if late := got.Late.Load(); late < got.Good.Load() {
		t.Errorf("%d in time and %d late, although orders waited for a connection", got.Good.Load(), late)
	}
}

func TestClosedLoop(t *testing.T) {
	t.Parallel()
	f, to := newFake(t, 10*time.Millisecond, 201)
	before := int64(0)
	got, _ := Run{Target: to, Name: "closed", Connections: 3, Time: 2 * time.Second, Deadline: time.Minute, Began: func() { before = f.n.Load() }}.Closed(t.Context())
	f.check(t)
	if good := got.Good.Load(); good == 0 || good > f.n.Load()-before+3 {
		t.Errorf("counted %d of %d, of which %d in the warm-up, which must not be counted", good, f.n.Load(), before)
	}
}

// undecided is a shop that answers 202, and decides the nth order after n reads.
type undecided struct {
	mu    sync.Mutex
	n     int
	reads map[string]int
}

func (u *undecided) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if r.Method == http.MethodPost {
		u.n++
		w.Header().Set("Location", fmt.Sprintf("/v1/orders/%d", u.n))
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"status":"PENDING"}`)
		return
	}
	u.reads[r.URL.Path]++
	status, left := "PLACED", int(r.URL.Path[len(r.URL.Path)-1]-'0')-u.reads[r.URL.Path]
	switch {
	case r.URL.Query().Get("wait") == "" || r.Header.Get("Authorization") != "Bearer a" || r.Header.Get("X-Order-Flow") != "":
		status = "a bad read"
	case left > 0:
		status = "PENDING"
	case r.URL.Path == "/v1/orders/2":
		status = "REJECTED"
	case r.URL.Path == "/v1/orders/3":
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = fmt.Fprintf(w, `{"order_no":"01","status":%q}`, status)
}

// TestOrder_followed: the outcome of an order that is answered 202 is read at its Location; an error on the way is the
// order's answer.
func TestOrder_followed(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(&undecided{reads: map[string]int{}})
	t.Cleanup(s.Close)
	to := Target{Addr: strings.TrimPrefix(s.URL, "http://"), Name: "S", Flow: "queue", Follow: true, Tokens: []string{"a"}, Baskets: []string{Basket("S")}}
	c := NewConn(to, "followed", 0)
	defer c.Close()
	for i, want := range []int{201, 409, 503, 201} {
		if got, err := c.Order(t.Context()); err != nil || got != want {
			t.Errorf("order %d: %d, error %v; want %d", i+1, got, err, want)
		}
	}
	to.Follow = false
	plain := NewConn(to, "plain", 0)
	defer plain.Close()
	if got, err := plain.Order(t.Context()); err != nil || got != 202 {
		t.Errorf("not followed: %d, error %v; want 202", got, err)
	}
}

// A connection that the server closed is opened again.
func TestConn_reconnects(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	t.Cleanup(s.Close)
	c := NewConn(Target{Addr: strings.TrimPrefix(s.URL, "http://"), Name: "S", Tokens: []string{"a"}, Baskets: []string{Basket("S")}}, "r", 0)
	for range 3 {
		if status, err := c.Order(t.Context()); status != 429 || err != nil {
			t.Errorf("got %d, %v", status, err)
		}
	}
	if n.Load() != 3 {
		t.Errorf("%d requests", n.Load())
	}
	s.Close()
	if _, err := c.Order(context.Background()); err == nil {
		t.Error("got an answer although the server is closed")
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for i := 1; i <= 1000; i++ {
		h.add(time.Duration(i) * time.Millisecond)
	}
	h.add(time.Hour) // beyond the last bucket
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond} {
		if got := h.Quantile(q); got < want*95/100 || got > want*110/100 {
			t.Errorf("quantile %v = %v, want %v", q, got, want)
		}
	}
}
