package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/server"
	"holdfast/pkg/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a server.Run under test.
type running struct {
	url, ops string
	opsAddr  string
	stop     context.CancelFunc
	done     chan error // Run's result
}

func start(tb testing.TB, cfg server.Config) *running {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{stop: cancel, done: make(chan error, 1)}
	started := make(chan struct{})
	cfg.Service, cfg.Addr, cfg.OpsAddr = "test", "127.0.0.1:0", "127.0.0.1:0"
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Started = func(addr, opsAddr net.Addr) {
		r.url, r.ops, r.opsAddr = "http://"+addr.String(), "http://"+opsAddr.String(), opsAddr.String()
		close(started)
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		r.done <- server.Run(ctx, cfg)
	}()
	tb.Cleanup(func() {
		cancel()
		<-finished
	})
	select {
	case <-started:
	case err := <-r.done:
		tb.Fatalf("not started: %v", err)
	}
	return r
}

// newClient returns a client that keeps connections alive until the test ends.
func newClient(tb testing.TB) *http.Client {
	tb.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func get(tb testing.TB, c *http.Client, url string) (status int, body string, err error) {
	tb.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

func mustGet(tb testing.TB, c *http.Client, url string) (status int, body string) {
	tb.Helper()
	status, body, err := get(tb, c, url)
	if err != nil {
		tb.Fatal(err)
	}
	return status, body
}

func readyz(tb testing.TB, c *http.Client, ops string) (int, server.Readiness) {
	tb.Helper()
	status, body := mustGet(tb, c, ops+"/readyz")
	var r server.Readiness
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		tb.Fatalf("%s: %v", body, err)
	}
	return status, r
}

func ok(context.Context) error { return nil }

func TestRun_readyzNamesTheBrokenDependency(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	r := start(t, server.Config{Handler: http.NotFoundHandler(), Checks: []server.Check{
		{Name: "mysql", Probe: ok},
		{Name: "redis", Probe: func(context.Context) error {
			if broken.Load() {
				return errors.New("connection refused")
			}
			return nil
		}},
		{Name: "broker", Optional: true, Probe: func(context.Context) error { return errors.New("no route") }},
	}})
	c := newClient(t)
	status, got := readyz(t, c, r.ops)
	want := server.Readiness{Status: "ok", Checks: map[string]string{"mysql": "ok", "redis": "ok", "broker": "no route"}}
	if diff := cmp.Diff(want, got); status != 200 || diff != "" {
		t.Errorf("an optional check fails: %d %s", status, diff)
	}
	if err := server.Healthcheck(t.Context(), r.opsAddr); err != nil {
		t.Errorf("Healthcheck: %v", err)
	}

	broken.Store(true)
	status, got = readyz(t, c, r.ops)
	want = server.Readiness{Status: "unavailable", Checks: map[string]string{"mysql": "ok", "redis": "connection refused", "broker": "no route"}}
	if diff := cmp.Diff(want, got); status != 503 || diff != "" {
		t.Errorf("redis is broken: %d %s", status, diff)
	}
	if err := server.Healthcheck(t.Context(), r.opsAddr); err == nil || !strings.Contains(err.Error(), `"redis":"connection refused"`) {
		t.Errorf("Healthcheck: got %v, want redis named", err)
	}
	if status, _ := mustGet(t, c, r.ops+"/livez"); status != 200 {
		t.Errorf("/livez is %d, want 200: a restart would not mend redis", status)
	}
}

func TestRun_readyzIsBounded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	r := start(t, server.Config{Handler: http.NotFoundHandler(), Checks: []server.Check{
		{Name: "deaf", Probe: func(context.Context) error { <-release; return nil }},
		{Name: "slow", Probe: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		{Name: "buggy", Probe: func(context.Context) error { panic("kaboom") }},
		{Name: "well", Probe: ok},
	}})
	begin := time.Now()
	status, got := readyz(t, newClient(t), r.ops)
	if took := time.Since(begin); status != 503 || took > 5*time.Second {
		t.Errorf("status %d after %s, want 503 after about a second", status, took)
	}
	if got.Checks["deaf"] == "ok" || got.Checks["slow"] == "ok" || !strings.Contains(got.Checks["buggy"], "kaboom") || got.Checks["well"] != "ok" {
		t.Errorf("got %v", got.Checks)
	}
}

func TestHealthcheck_nobodyThere(t *testing.T) {
	t.Parallel()
	_, port, _ := net.SplitHostPort(testkit.RefusingAddr(t))
	for _, addr := range []string{":" + port, net.IPv4zero.String() + ":" + port, "nonsense"} {
		if err := server.Healthcheck(t.Context(), addr); err == nil {
			t.Errorf("%s: got no error", addr)
		}
	}
}

func TestRun_operations(t *testing.T) {
	t.Parallel()
	r := start(t, server.Config{Handler: http.NotFoundHandler(), Registry: telemetry.NewRegistry()})
	c := newClient(t)
	for path, want := range map[string]string{"/metrics": "go_goroutines", "/debug/pprof/": "heap", "/debug/pprof/goroutine?debug=1": "goroutine profile"} {
		if status, body := mustGet(t, c, r.ops+path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: got %d, want %q in it", path, status, want)
		}
		if status, _ := mustGet(t, c, r.url+path); status != 404 {
			t.Errorf("%s is on the public port too", path)
		}
	}
}

func TestRun_addressInUse(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	taken := ln.Addr().String()
	for _, cfg := range []server.Config{{Addr: taken, OpsAddr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0", OpsAddr: taken}} {
		cfg.Log, cfg.Handler = slog.New(slog.DiscardHandler), http.NotFoundHandler()
		err := server.Run(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), taken) || !strings.Contains(err.Error(), "in use") {
			t.Errorf("got %v, want an error that names %s", err, taken)
		}
	}
}

func TestRun_drains(t *testing.T) {
	t.Parallel()
	r := start(t, server.Config{DrainDelay: 500 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
	})})
	c := newClient(t)
	r.stop()
	for deadline := time.Now().Add(5 * time.Second); ; {
		status, got := readyz(t, c, r.ops)
		if got.Status == "draining" && status == 503 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("readyz is %d %v, want draining", status, got)
		}
	}
	if status, _ := mustGet(t, c, r.url); status != 200 {
		t.Errorf("a request while draining: got %d", status)
	}
	if err := <-r.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, _, err := get(t, c, r.url); err == nil {
		t.Error("somebody still answers")
	}
	if _, _, err := get(t, c, r.ops+"/livez"); err == nil {
		t.Error("the operations port still answers")
	}
}

// TestRun_stopUnderLoadLosesNothing: each request whose handler ran must have been answered in full. A client that was
// not answered may only be one whose request never reached a handler.
func TestRun_stopUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	const body = "the whole answer"
	var handled, answered, wrong atomic.Int64
	r := start(t, server.Config{DrainDelay: 100 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handled.Add(1)
		select {
		case <-time.After(5 * time.Millisecond): // the work
		case <-r.Context().Done():
			return
		}
		_, _ = io.WriteString(w, body)
	})})
	c := newClient(t)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for {
				status, got, err := get(t, c, r.url)
				if err != nil {
					return // the server is gone
				}
				if status != 200 || got != body {
					wrong.Add(1)
				}
				answered.Add(1)
			}
		})
	}
	testkit.EventuallyTrue(t, 10*time.Second, "500 answers", func() bool { return answered.Load() >= 500 })
	r.stop()
	if err := <-r.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	wg.Wait()
	if handled.Load() != answered.Load() || wrong.Load() != 0 || answered.Load() < 500 {
		t.Errorf("%d requests reached the handler, %d were answered, %d of them wrongly", handled.Load(), answered.Load(), wrong.Load())
	}
}

func TestRun_breaksOffWhatTakesTooLong(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	var ended atomic.Bool
	r := start(t, server.Config{ShutdownTimeout: 50 * time.Millisecond, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		ended.Store(true)
	})})
	c := newClient(t)
	failed := make(chan error, 1)
	go func() {
		_, _, err := get(t, c, r.url)
		failed <- err
	}()
	<-entered
	if ended.Load() {
		t.Error("the request's context ended before the stop")
	}
	r.stop()
	if err := <-r.done; !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "50ms") {
		t.Errorf("Run: got %v, want an error that says requests were still running", err)
	}
	<-failed
	testkit.EventuallyTrue(t, 5*time.Second, "the end of the handler's context", ended.Load)
}

func TestRun_logsItsAddresses(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	r := start(t, server.Config{Handler: http.NotFoundHandler(), Log: telemetry.NewLogger(&b, "test")})
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(`"addr":%q`, strings.TrimPrefix(r.url, "http://")); !strings.Contains(b.String(), want) {
		t.Errorf("the log lacks %s:\n%s", want, b.String())
	}
}
