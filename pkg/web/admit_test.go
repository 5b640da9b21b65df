package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/admit"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
)

// work is a handler whose requests wait until the test lets one end.
type work struct {
	begun, end chan struct{}
	calls      atomic.Int32
}

func newWork() *work { return &work{begun: make(chan struct{}, 16), end: make(chan struct{})} }

func (w *work) handle(c *gin.Context) {
	w.calls.Add(1)
	w.begun <- struct{}{}
	select {
	case <-w.end: // and not the request's context: a decision ends although its client has gone
	case <-time.After(5 * time.Second): // a slot too many: the test says so
	}
	c.String(200, "done")
}

// one admits one request at a time and lets none wait for long.
func one() *admit.Limiter { return admit.New(admit.Config{Max: 1, MaxWait: time.Millisecond}) }

// start sends a request that ends with its context.
func start(ctx context.Context, tb testing.TB, url string) <-chan int {
	tb.Helper()
	status := make(chan int, 1)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{}`))
	if err != nil {
		tb.Fatal(err)
	}
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			status <- 0
			return
		}
		_ = res.Body.Close()
		status <- res.StatusCode
	}()
	return status
}

func TestAdmit_refusesWhatItHasNoSlotFor(t *testing.T) {
	t.Parallel()
	w := newWork()
	url := serve(t, web.EngineConfig{}, func(e *gin.Engine) { e.POST("/", web.Admit(one()), w.handle) })
	first := start(t.Context(), t, url)
	<-w.begun
	res, body := do(t, "POST", url, `{}`)
	p := problemOf(t, res, body)
	if res.StatusCode != 429 || p.Code != "overloaded" || p.Ambiguous || res.Header.Get("Retry-After") != "1" {
		t.Errorf("got %+v, Retry-After %q", p, res.Header.Get("Retry-After"))
	}
	if !strings.Contains(p.Detail, "not execute") || !strings.Contains(p.Detail, "retry") {
		t.Errorf("the text does not say what happened and what to do: %q", p.Detail)
	}
	if n := w.calls.Load(); n != 1 {
		t.Errorf("the handler ran %d times", n)
	}
	close(w.end)
	if status := <-first; status != 200 {
		t.Errorf("the first was answered %d", status)
	}
}

func TestAdmit_slotIsHeldUntilTheHandlerReturns(t *testing.T) {
	t.Parallel()
	w := newWork()
	url := serve(t, web.EngineConfig{}, func(e *gin.Engine) { e.POST("/", web.Admit(one()), w.handle) })
	ctx, hangUp := context.WithCancel(t.Context())
	first := start(ctx, t, url)
	<-w.begun
	hangUp()
	<-first
	if res, _ := do(t, "POST", url, `{}`); res.StatusCode != 429 {
		t.Errorf("the client has gone, its decision has not ended, and the next was answered %d", res.StatusCode)
	}
	close(w.end)
	testkit.EventuallyTrue(t, 10*time.Second, "the slot is free again", func() bool {
		res, _ := do(t, "POST", url, `{}`)
		return res.StatusCode == 200
	})
}

func TestAdmit_panicReturnsTheSlot(t *testing.T) {
	t.Parallel()
	url := serve(t, web.EngineConfig{}, func(e *gin.Engine) {
		e.POST("/", web.Admit(one()), func(*gin.Context) { panic("kaboom") })
	})
	for range 3 {
		if res, _ := do(t, "POST", url, `{}`); res.StatusCode != 500 {
			t.Fatalf("got %d, want the panic's 500 each time", res.StatusCode)
		}
	}
}

func TestAdmit_kindsAreApart(t *testing.T) {
	t.Parallel()
	w := newWork()
	ok := func(c *gin.Context) { c.String(200, "ok") }
	url := serve(t, web.EngineConfig{}, func(e *gin.Engine) {
		e.POST("/place", web.Admit(one()), w.handle)
		e.POST("/pay", web.Admit(one()), ok)
		e.GET("/read", web.Admit(one()), ok)
	})
	first := start(t.Context(), t, url+"/place")
	<-w.begun
	for _, tt := range []struct {
		method, path string
		status       int
	}{{"POST", "/place", 429}, {"POST", "/pay", 200}, {"GET", "/read", 200}} {
		if res, _ := do(t, tt.method, url+tt.path, ""); res.StatusCode != tt.status {
			t.Errorf("%s: got %d, want %d", tt.path, res.StatusCode, tt.status)
		}
	}
	close(w.end)
	<-first
}

// dialAndSend opens a connection and sends text, which is a part of a request.
func dialAndSend(tb testing.TB, url, text string) net.Conn {
	tb.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		tb.Fatal(err)
	}
	return c
}

func requestHead(length int) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", length)
}

func answerOf(tb testing.TB, c net.Conn) int {
	tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode
}

func TestAdmit_slowBodyHoldsNoSlot(t *testing.T) {
	t.Parallel()
	url := serve(t, web.EngineConfig{}, func(e *gin.Engine) {
		e.POST("/", web.Admit(one()), web.Handle(func(c *gin.Context) (int, any, error) {
			var in order
			return 200, &in, web.Decode(c, &in)
		}))
	})
	slow := dialAndSend(t, url, requestHead(14)+`{"note"`)
	for range 3 {
		if res, body := do(t, "POST", url, `{"note":"b"}`, "Content-Type", "application/json"); res.StatusCode != 200 {
			t.Fatalf("a body that does not come blocks others: %d %s", res.StatusCode, body)
		}
	}
	if _, err := io.WriteString(slow, `:"ok!"}`); err != nil {
		t.Fatal(err)
	}
	if status := answerOf(t, slow); status != 200 {
		t.Errorf("the slow one was answered %d", status)
	}
}

// Large bodies that wait are bounded together; small ones do not count, so that they cannot be kept out.
func TestAdmit_largeBodiesAreBounded(t *testing.T) {
	t.Parallel()
	const large = 1 << 20
	url := serve(t, web.EngineConfig{}, func(e *gin.Engine) {
		e.POST("/", web.Admit(one()), func(c *gin.Context) { c.String(200, "ok") })
	})
	var held []net.Conn
	answered := make(chan int, 17) // statuses; 0: closed without an answer
	for range 17 {
		c := dialAndSend(t, url, requestHead(large))
		held = append(held, c)
		go func() {
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				answered <- 0
				return
			}
			_ = res.Body.Close()
			answered <- res.StatusCode
		}()
	}
	if status := <-answered; status != 429 { // one of them, whichever comes last: the others wait for their bodies
		t.Errorf("of seventeen one was answered %d, want 429", status)
	}
	if res, _ := do(t, "POST", url, `{}`); res.StatusCode != 200 {
		t.Errorf("a small one got %d", res.StatusCode)
	}
	for _, c := range held {
		_ = c.Close()
	}
	for range 16 {
		if status := <-answered; status != 0 {
			t.Errorf("one without its body was answered %d", status)
		}
	}
	testkit.EventuallyTrue(t, 10*time.Second, "a large one is taken again", func() bool {
		res, _ := do(t, "POST", url, strings.Repeat(" ", large))
		return res.StatusCode == 200
	})
}

// full returns a limiter that refuses at once, and the slot that it lacks.
func full(tb testing.TB) (*admit.Limiter, admit.Slot) {
	tb.Helper()
	limiter := one()
	slot, err := limiter.Acquire(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	time.Sleep(5 * time.Millisecond) // a service time longer than MaxWait: the next wait is too long from the first moment
	slot.Release(admit.Served)
	if slot, err = limiter.Acquire(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return limiter, slot
}

func TestEngine_Full(t *testing.T) {
	t.Parallel()
	limiter, slot := full(t)
	var log logBuffer
	registry := prometheus.NewRegistry()
	url := serve(t, web.EngineConfig{
		Log: telemetry.NewLogger(&log, "test"), Registry: registry,
		Refuser: web.NewRefuser(map[web.Route]*admit.Limiter{{Method: "POST", Pattern: "/orders/:no"}: limiter}),
	}, func(e *gin.Engine) {
		ok := web.Handle(func(*gin.Context) (int, any, error) { return 200, nil, nil })
		e.POST("/orders/:no", ok)
		e.GET("/orders/:no", ok)
	})
	res, body := do(t, "POST", url+"/orders/1", `{}`)
	p := problemOf(t, res, body)
	if res.StatusCode != 429 || p.Code != "overloaded" || p.Ambiguous || res.Header.Get("Retry-After") != "1" {
		t.Errorf("got %+v, Retry-After %q", p, res.Header.Get("Retry-After"))
	}
	if p.RequestID == "" || p.RequestID != res.Header.Get(header.RequestID) {
		t.Errorf("the problem has the request id %q, the header %q", p.RequestID, res.Header.Get(header.RequestID))
	}
	if res, _ := do(t, "GET", url+"/orders/1", ""); res.StatusCode != 200 {
		t.Errorf("another method of that path was answered %d", res.StatusCode)
	}
	testkit.EventuallyTrue(t, 10*time.Second, "the refusal has an access line with its request id", func() bool {
		return log.count("overloaded: ") == 1 && log.count(p.RequestID) == 1
	})
	slot.Release(admit.Malformed)
	if res, _ := do(t, "POST", url+"/orders/1", `{}`); res.StatusCode != 200 {
		t.Errorf("with a free slot the answer is %d", res.StatusCode)
	}
	want := "# HELP http_requests_total Requests answered.\n# TYPE http_requests_total counter\n" +
		"http_requests_total{method=\"GET\",route=\"/orders/:no\",status=\"200\"} 1\n" +
		"http_requests_total{method=\"POST\",route=\"/orders/:no\",status=\"200\"} 1\n" +
		"http_requests_total{method=\"POST\",route=\"/orders/:no\",status=\"429\"} 1\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "http_requests_total"); err != nil {
		t.Error(err)
	}
}

// TestEngine_successesAreSampledInTheLog: requests that succeed share access lines, which count them; others have one.
func TestEngine_successesAreSampledInTheLog(t *testing.T) {
	t.Parallel()
	for _, sampled := range []bool{true, false} {
		var log logBuffer
		url := serve(t, web.EngineConfig{Log: telemetry.NewLogger(&log, "test"), Sampled: sampled}, func(e *gin.Engine) {
			e.GET("/ok", web.Handle(func(*gin.Context) (int, any, error) { return 201, nil, nil }))
			e.GET("/moved", web.Handle(func(*gin.Context) (int, any, error) { return 304, nil, nil }))
			e.GET("/other", web.Handle(func(*gin.Context) (int, any, error) { return 0, nil, fault.New(fault.Conflict, "c", "c") }))
		})
		const n = 50
		begun := time.Now()
		for range n {
			do(t, "GET", url+"/ok", "")
			do(t, "GET", url+"/moved", "")
			do(t, "GET", url+"/other", "")
		}
		most := int(time.Since(begun)/(100*time.Millisecond)) + 1
		testkit.EventuallyTrue(t, 10*time.Second, "all that do not succeed are logged", func() bool {
			return log.count(`"code":"c"`) == n && log.count(`"path":"/moved"`) == n
		})
		if !sampled {
			testkit.EventuallyTrue(t, 10*time.Second, "all are logged", func() bool { return log.count(`"path":"/ok"`) == n })
			continue
		}
		if got := log.count(`"path":"/ok"`); got < 1 || got > most {
			t.Errorf("%d requests that succeeded have %d lines in %v, want 1 to %d", n, got, time.Since(begun), most)
		}
		testkit.EventuallyTrue(t, 10*time.Second, "a later line counts the others", func() bool {
			do(t, "GET", url+"/ok", "")
			return log.count(`"not_logged":`) > log.count(`"not_logged":0`)
		})
	}
}

func TestEngine_refusalsOfOverloadAreSampledInTheLog(t *testing.T) {
	t.Parallel()
	var log logBuffer
	url := serve(t, web.EngineConfig{Log: telemetry.NewLogger(&log, "test")}, func(e *gin.Engine) {
		e.GET("/busy", web.Handle(func(*gin.Context) (int, any, error) { return 0, nil, admit.ErrOverloaded }))
		e.GET("/other", web.Handle(func(*gin.Context) (int, any, error) { return 0, nil, fault.New(fault.Conflict, "c", "c") }))
	})
	const n = 50
	for range n {
		do(t, "GET", url+"/busy", "")
		do(t, "GET", url+"/other", "")
	}
	testkit.EventuallyTrue(t, 10*time.Second, "all of the others are logged", func() bool { return log.count(`"code":"c"`) == n })
	if got := log.count("overloaded: "); got < 1 || got > 10 {
		t.Errorf("%d refusals have %d lines", n, got)
	}
	testkit.EventuallyTrue(t, 10*time.Second, "a later line counts the others", func() bool {
		do(t, "GET", url+"/busy", "")
		return log.count(`"not_logged":`) > log.count(`"not_logged":0`)
	})
}

func (l *logBuffer) count(text string) int { return strings.Count(l.String(), text) }
