package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

func newFake(t *testing.T, took time.Duration, statuses ...int) (*fakeShop, target) {
	t.Helper()
	f := &fakeShop{statuses: statuses, took: took, keys: map[string]int{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return f, target{addr: strings.TrimPrefix(s.URL, "http://"), sku: "S", strategy: "for-update", tokens: []string{"a", "b"}}
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
	got, took := openLoop(t.Context(), to, 20, 600, 500*time.Millisecond, time.Minute)
	f.check(t)
	sent := got.sent.Load()
	if sent+got.unsent.Load() < 250 || sent != f.n.Load() || took < 500*time.Millisecond {
		t.Errorf("sent %d, unsent %d in %v; the shop received %d, want 300", sent, got.unsent.Load(), took, f.n.Load())
	}
	sum := int64(0)
	for name, n := range map[string]int64{
		"201": got.good.Load() + got.late.Load(), "429": got.refused.Load(), "202": got.pending.Load(),
		"503": got.unavailable.Load(), "409": got.soldOut.Load(), "500": got.other.Load(),
	} {
		if n < sent/6-1 || n > sent/6+1 {
			t.Errorf("%s: %d of %d", name, n, sent)
		}
		sum += n
	}
	if sum != sent || got.broken.Load() != 0 {
		t.Errorf("%d of %d answers are counted, %d had none", sum, sent, got.broken.Load())
	}
}

// The shop is slower than the arrival rate. Orders that wait for a connection must stay in the statistics as late or
// unsent.
func TestOpenLoop_slowShop(t *testing.T) {
	t.Parallel()
	f, to := newFake(t, 50*time.Millisecond, 201)
	got, _ := openLoop(t.Context(), to, 4, 1000, 500*time.Millisecond, 60*time.Millisecond)
	f.check(t)
	if got.unsent.Load() < 300 {
		t.Errorf("unsent %d, want most of 500: 4 connections place 80 a second", got.unsent.Load())
	}
	if late := got.late.Load(); late < got.good.Load() {
		t.Errorf("%d in time and %d late, although orders waited for a connection", got.good.Load(), late)
	}
}

func TestClosedLoop(t *testing.T) {
	t.Parallel()
	f, to := newFake(t, 10*time.Millisecond, 201)
	got, _ := closedLoop(t.Context(), to, 3, 400*time.Millisecond, time.Minute)
	f.check(t)
	if got.good.Load() == 0 || got.good.Load() >= f.n.Load() {
		t.Errorf("counted %d of %d: the warm-up must not be counted", got.good.Load(), f.n.Load())
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
	c := newConn(target{addr: strings.TrimPrefix(s.URL, "http://"), sku: "S", tokens: []string{"a"}}, "r", 0)
	for range 3 {
		if status, err := c.order(t.Context()); status != 429 || err != nil {
			t.Errorf("got %d, %v", status, err)
		}
	}
	if n.Load() != 3 {
		t.Errorf("%d requests", n.Load())
	}
	s.Close()
	if _, err := c.order(context.Background()); err == nil {
		t.Error("got an answer although the server is closed")
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for i := 1; i <= 1000; i++ {
		h.add(time.Duration(i) * time.Millisecond)
	}
	h.add(time.Hour) // beyond the last bucket
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond} {
		if got := h.quantile(q); got < want*95/100 || got > want*110/100 {
			t.Errorf("quantile %v = %v, want %v", q, got, want)
		}
	}
}

func TestFigures_read(t *testing.T) {
	t.Parallel()
	var f figures
	err := f.read(strings.NewReader(`# HELP go_goroutines n
go_goroutines 12
mq_checks_total{answer="rollback",group="order-tx"} 3
mq_checks_total{answer="unknown",group="order-tx"} 4
process_resident_memory_bytes 2.5e+07
`))
	if want := (figures{2.5e7, 12, 7}); err != nil || f != want {
		t.Errorf("got %+v, %v; want %+v", f, err, want)
	}
}

// ideal returns a report that meets every bar.
func ideal() *report {
	small := map[string]figures{"api-gateway": {Memory: 9e7}, "order-srv": {Memory: 5e7}, "inventory-srv": {Memory: 5e7}}
	return &report{
		Capacity: 700, After: small, Started: time.Now(), Deadline: 3 * time.Second,
		Rows: []row{
			{Load: "closed", Goodput: 700, Placed: 7000, Peak: small},
			{Load: "open, 10 times", Factor: 10, Connections: 1000, Offered: 7000, Goodput: 600, Sent: 70000, Placed: 6000, Refused: 64000, Peak: small},
		},
	}
}

func TestReport_judge(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*report)
		missed string
	}{
		"all well":            {func(*report) {}, ""},
		"nothing placed":      {func(r *report) { r.Capacity = 0 }, "closed loop"},
		"collapse":            {func(r *report) { r.Rows[1].Goodput = 500 }, "goodput"},
		"the generator lags":  {func(r *report) { r.Rows[1].Unsent = 60000 }, "offered"},
		"abandoned":           {func(r *report) { r.Abandoned = 131 }, "abandoned"},
		"memory at the peak":  {func(r *report) { r.Rows[1].Peak = map[string]figures{"order-srv": {Memory: 1.1e8}} }, "order-srv"},
		"memory stays":        {func(r *report) { r.After = map[string]figures{"api-gateway": {Memory: 1.1e8}} }, "api-gateway"},
		"check-backs go on":   {func(r *report) { r.LateChecks = 1 }, "check-backs"},
		"a violation":         {func(r *report) { r.Violations = 1 }, "audit"},
		"an order is pending": {func(r *report) { r.Unsettled = 1 }, "audit"},
	} {
		r := ideal()
		tt.change(r)
		r.judge()
		var missed []string
		for _, b := range r.Bars {
			if !b.Met {
				missed = append(missed, b.Name)
			}
		}
		switch {
		case tt.missed == "" && r.missed() != 0:
			t.Errorf("%s: missed %q", name, missed)
		case tt.missed != "" && (len(missed) != 1 || !strings.Contains(missed[0], tt.missed)):
			t.Errorf("%s: missed %q, want the one about %s", name, missed, tt.missed)
		}
	}
}

func TestReport_write(t *testing.T) {
	t.Parallel()
	r := ideal()
	r.Findings = []string{`invariant 5: <b>`}
	r.judge()
	dir := filepath.Join(t.TempDir(), "out")
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "overload.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"700 orders a second", "open, 10 times", "<polyline points=\"600.0,", "invariant 5: &lt;b&gt;", "api-gateway MB"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, never := range []string{"http://", "https://", "ZgotmplZ"} {
		if strings.Contains(string(page), never) {
			t.Errorf("the page has %q", never)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "overload.json"))
	if err != nil {
		t.Fatal(err)
	}
	var again report
	if err := json.Unmarshal(b, &again); err != nil || again.Capacity != 700 || len(again.Rows) != 2 || len(again.Bars) != len(r.Bars) {
		t.Errorf("read back: %+v, %v", again, err)
	}
	var table bytes.Buffer
	if err := r.print(&table); err != nil || !strings.Contains(table.String(), "MISSED") && r.missed() > 0 {
		t.Errorf("table: %v\n%s", err, table.String())
	}
}
