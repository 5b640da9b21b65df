package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
)

// logBuffer is the log of a server.
type logBuffer struct{ testkit.Buffer }

// lines waits until there are n lines: a server writes an access line after its answer.
func (l *logBuffer) lines(tb testing.TB, n int) []map[string]any {
	tb.Helper()
	var found []string
	testkit.Eventually(tb, 5*time.Second, "access lines", func() error {
		found = strings.Split(strings.TrimSpace(l.String()), "\n")
		if found[0] == "" || len(found) < n {
			return fmt.Errorf("%d of %d lines:\n%s", len(found), n, l)
		}
		return nil
	})
	return parse(tb, found, n)
}

func parse(tb testing.TB, lines []string, n int) []map[string]any {
	tb.Helper()
	if len(lines) != n {
		tb.Fatalf("got %d log lines, want %d:\n%s", len(lines), n, strings.Join(lines, "\n"))
	}
	out := make([]map[string]any, n)
	for i, line := range lines {
		if err := json.Unmarshal([]byte(line), &out[i]); err != nil {
			tb.Fatalf("line %q: %v", line, err)
		}
	}
	return out
}

// serve starts a real server with the routes that add registers.
func serve(tb testing.TB, cfg web.EngineConfig, add func(*gin.Engine)) string {
	tb.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e := web.NewEngine(cfg)
	add(e)
	s := httptest.NewServer(e)
	tb.Cleanup(s.Close)
	return s.URL
}

func do(tb testing.TB, method, url, body string, headers ...string) (*http.Response, string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, url, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return res, string(b)
}

func problemOf(tb testing.TB, res *http.Response, body string) fault.Problem {
	tb.Helper()
	if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
		tb.Fatalf("content type %q, want a problem; body %s", got, body)
	}
	var p fault.Problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		tb.Fatal(err)
	}
	if p.Status != res.StatusCode {
		tb.Errorf("the problem says status %d, HTTP says %d", p.Status, res.StatusCode)
	}
	if want := res.Header.Get(header.RequestID); p.RequestID == "" || p.RequestID != want {
		tb.Errorf("the problem's request id is %q, the header's %q", p.RequestID, want)
	}
	return p
}

func TestStatus(t *testing.T) {
	t.Parallel()
	for kind, want := range map[fault.Kind]int{
		fault.Invalid: 400, fault.TooLarge: 413, fault.Unauthenticated: 401, fault.Forbidden: 403, fault.NotFound: 404,
		fault.Conflict: 409, fault.Mismatch: 422, fault.Closed: 409, fault.Limited: 429, fault.Contended: 503,
		fault.Unavailable: 503, fault.Timeout: 504, fault.Internal: 500, "unheard of": 500,
	} {
		if got := web.Status(kind); got != want {
			t.Errorf("Status(%s) = %d, want %d", kind, got, want)
		}
	}
}

func TestHandle_rendersBodyOrProblem(t *testing.T) {
	t.Parallel()
	url := serve(t, web.EngineConfig{}, func(e *gin.Engine) {
		e.GET("/body", web.Handle(func(*gin.Context) (int, any, error) {
			return http.StatusCreated, map[string]int{"n": 1}, nil
		}))
		e.GET("/empty", web.Handle(func(*gin.Context) (int, any, error) { return http.StatusNoContent, nil, nil }))
		e.GET("/contended", web.Handle(func(*gin.Context) (int, any, error) {
			return http.StatusOK, "ignored", fault.New(fault.Contended, "contended", "ask again").With("sku", "A")
		}))
		e.GET("/unknown", web.Handle(func(*gin.Context) (int, any, error) {
			return 0, nil, errors.New("dial tcp secret-host:3306")
		}))
		e.GET("/unencodable", web.Handle(func(*gin.Context) (int, any, error) { return 200, make(chan int), nil }))
	})
	if res, body := do(t, "GET", url+"/body", ""); res.StatusCode != 201 || body != `{"n":1}` {
		t.Errorf("body: got %d %q", res.StatusCode, body)
	}
	if res, body := do(t, "GET", url+"/empty", ""); res.StatusCode != 204 || body != "" {
		t.Errorf("empty: got %d %q", res.StatusCode, body)
	}
	res, body := do(t, "GET", url+"/contended", "")
	p := problemOf(t, res, body)
	if res.StatusCode != 503 || p.Code != "contended" || p.Ambiguous || p.Details["sku"] != "A" || res.Header.Get("Retry-After") != "1" {
		t.Errorf("contended: got %+v, Retry-After %q", p, res.Header.Get("Retry-After"))
	}
	res, body = do(t, "GET", url+"/unknown", "")
	if p := problemOf(t, res, body); res.StatusCode != 500 || p.Code != "internal" || !p.Ambiguous {
		t.Errorf("unknown: got %+v", p)
	}
	if strings.Contains(body, "secret-host") {
		t.Errorf("the cause crossed the wire: %s", body)
	}
	res, body = do(t, "GET", url+"/unencodable", "")
	if p := problemOf(t, res, body); p.Code != "internal" {
		t.Errorf("unencodable: got %+v", p)
	}
}

func TestEngine_unknownRouteAndMethodAreProblems(t *testing.T) {
	t.Parallel()
	url := serve(t, web.EngineConfig{}, func(e *gin.Engine) {
		e.GET("/things/:id", func(c *gin.Context) { c.String(200, c.Param("id")) })
	})
	res, body := do(t, "GET", url+"/nothing", "")
	if p := problemOf(t, res, body); res.StatusCode != 404 || p.Code != "not_found" {
		t.Errorf("got %d %+v", res.StatusCode, p)
	}
	res, body = do(t, "POST", url+"/things/1", "")
	if p := problemOf(t, res, body); res.StatusCode != 405 || p.Code != "method_not_allowed" || res.Header.Get("Allow") != "GET" {
		t.Errorf("got %d %+v, Allow %q", res.StatusCode, p, res.Header.Get("Allow"))
	}
	if res, body := do(t, "GET", url+"/things/a%2Fb", ""); res.StatusCode != 200 || body != "a/b" {
		t.Errorf("an escaped slash: got %d %q", res.StatusCode, body)
	}
	if res, _ := do(t, "GET", url+"/things/1/", ""); res.StatusCode != 404 {
		t.Errorf("a trailing slash: got %d, want 404 and no redirect", res.StatusCode)
	}
}

func TestEngine_requestID(t *testing.T) {
	t.Parallel()
	url := serve(t, web.EngineConfig{}, func(e *gin.Engine) {
		e.GET("/", func(c *gin.Context) { c.String(200, telemetry.RequestID(c.Request.Context())) })
	})
	res, body := do(t, "GET", url, "", header.RequestID, "abc-1.2_3")
	if body != "abc-1.2_3" || res.Header.Get(header.RequestID) != "abc-1.2_3" {
		t.Errorf("a sane id was not kept: context %q, header %q", body, res.Header.Get(header.RequestID))
	}
	for _, bad := range []string{"", "a b", `a"b`, strings.Repeat("x", 65)} {
		res, body := do(t, "GET", url, "", header.RequestID, bad)
		if body == bad || len(body) != 26 || res.Header.Get(header.RequestID) != body {
			t.Errorf("id %q: got context %q, header %q", bad, body, res.Header.Get(header.RequestID))
		}
	}
}

func TestEngine_oneAccessLinePerRequest(t *testing.T) {
	t.Parallel()
	var log logBuffer
	url := serve(t, web.EngineConfig{Log: telemetry.NewLogger(&log, "test")}, func(e *gin.Engine) {
		e.GET("/down", web.Handle(func(*gin.Context) (int, any, error) {
			return 0, nil, fault.New(fault.Unavailable, "db_unavailable", "no database").Wrap(errors.New("refused"))
		}))
	})
	do(t, "GET", url+"/down?token=hush", "", header.RequestID, "r1")
	line := log.lines(t, 1)[0]
	for key, want := range map[string]any{
		"msg": "request", "level": "WARN", "service": "test", "request_id": "r1", "method": "GET", "path": "/down",
		"status": 503.0, "code": "db_unavailable", "err": "db_unavailable: no database: refused",
	} {
		if line[key] != want {
			t.Errorf("%s = %v, want %v", key, line[key], want)
		}
	}
}

func TestEngine_panicIsAProblemLoggedOnce(t *testing.T) {
	t.Parallel()
	var log logBuffer
	url := serve(t, web.EngineConfig{Log: telemetry.NewLogger(&log, "test")}, func(e *gin.Engine) {
		e.GET("/", func(*gin.Context) { panic("kaboom") })
	})
	res, body := do(t, "GET", url, "", header.RequestID, "r1")
	if p := problemOf(t, res, body); res.StatusCode != 500 || p.Code != "internal" || !p.Ambiguous || strings.Contains(body, "kaboom") {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	lines := log.lines(t, 2)
	if lines[0]["panic"] != "kaboom" || lines[0]["request_id"] != "r1" || !strings.Contains(lines[0]["stack"].(string), "web_test.go") {
		t.Errorf("the panic's line: %v", lines[0])
	}
	if lines[1]["msg"] != "request" || lines[1]["status"] != 500.0 {
		t.Errorf("the access line: %v", lines[1])
	}
	if n := log.count(`"kaboom"`); n != 1 {
		t.Errorf("the panic was logged %d times", n)
	}
}

func TestEngine_panicAfterTheAnswerBeganCutsIt(t *testing.T) {
	t.Parallel()
	url := serve(t, web.EngineConfig{}, func(e *gin.Engine) {
		e.GET("/", func(c *gin.Context) {
			c.String(200, "half of")
			c.Writer.Flush()
			panic("kaboom")
		})
	})
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return // cut before we saw the header
	}
	defer func() { _ = res.Body.Close() }()
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("got a whole answer %q", body)
	}
}

func TestEngine_deadline(t *testing.T) {
	t.Parallel()
	remaining := func(c *gin.Context) {
		deadline, ok := c.Request.Context().Deadline()
		if !ok {
			c.String(200, "none")
			return
		}
		c.String(200, time.Until(deadline).String())
	}
	tests := []struct {
		name    string
		timeout time.Duration
		header  string
		atMost  time.Duration
		atLeast time.Duration
	}{
		{"ours", 10 * time.Second, "", 10 * time.Second, 6 * time.Second},
		{"the caller's is shorter", 10 * time.Second, "2000", 2 * time.Second, 0},
		{"the caller's is longer", 10 * time.Second, "60000", 10 * time.Second, 6 * time.Second},
		{"only the caller's", 0, "2000", 2 * time.Second, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, web.EngineConfig{Timeout: tt.timeout}, func(e *gin.Engine) { e.GET("/", remaining) })
			headers := []string{header.Deadline, tt.header}
			if tt.header == "" {
				headers = nil
			}
			_, body := do(t, "GET", url, "", headers...)
			got, err := time.ParseDuration(body)
			if err != nil || got > tt.atMost || got < tt.atLeast {
				t.Errorf("remaining %q, want %s to %s", body, tt.atLeast, tt.atMost)
			}
		})
	}
}

func TestEngine_deadlineEndsTheHandler(t *testing.T) {
	t.Parallel()
	url := serve(t, web.EngineConfig{Timeout: time.Minute}, func(e *gin.Engine) {
		e.GET("/", web.Handle(func(c *gin.Context) (int, any, error) {
			<-c.Request.Context().Done()
			return 0, nil, c.Request.Context().Err()
		}))
	})
	res, body := do(t, "GET", url, "", header.Deadline, "20")
	if p := problemOf(t, res, body); res.StatusCode != 504 || p.Code != "timeout" || !p.Ambiguous {
		t.Errorf("got %+v", p)
	}
	res, body = do(t, "GET", url, "", header.Deadline, "0")
	if p := problemOf(t, res, body); res.StatusCode != 504 || p.Ambiguous {
		t.Errorf("nothing remains: got %+v, want a timeout that was not executed", p)
	}
	for _, bad := range []string{"soon", "-1", "9223372036854775807"} {
		res, body = do(t, "GET", url, "", header.Deadline, bad)
		if p := problemOf(t, res, body); res.StatusCode != 400 || p.Code != "invalid_deadline" {
			t.Errorf("%s: got %+v", bad, p)
		}
	}
}

func TestEngine_metrics(t *testing.T) {
	t.Parallel()
	registry := telemetry.NewRegistry()
	url := serve(t, web.EngineConfig{Registry: registry}, func(e *gin.Engine) {
		e.GET("/things/:id", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	})
	do(t, "GET", url+"/things/1", "")
	do(t, "GET", url+"/things/2", "")
	do(t, "BREW", url+"/pot", "")
	want := `
# HELP http_requests_total Requests answered.
# TYPE http_requests_total counter
http_requests_total{method="GET",route="/things/:id",status="204"} 2
http_requests_total{method="any",route="none",status="404"} 1
`
	// The counter is raised after the answer was sent.
	testkit.Eventually(t, 5*time.Second, "the counter", func() error {
		return testutil.GatherAndCompare(registry, strings.NewReader(want), "http_requests_total")
	})
	if n, err := testutil.GatherAndCount(registry, "http_request_seconds"); err != nil || n != 2 {
		t.Errorf("http_request_seconds has %d series (%v), want 2", n, err)
	}
}

func TestQueryInt(t *testing.T) {
	t.Parallel()
	url := serve(t, web.EngineConfig{}, func(e *gin.Engine) {
		e.GET("/", web.Handle(func(c *gin.Context) (int, any, error) {
			n, err := web.QueryInt(c, "limit", 20, 1, 100)
			return 200, n, err
		}))
	})
	for query, want := range map[string]string{"": "20", "?limit=1": "1", "?limit=100": "100"} {
		if res, body := do(t, "GET", url+"/"+query, ""); res.StatusCode != 200 || body != want {
			t.Errorf("%q: got %d %s, want %s", query, res.StatusCode, body, want)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=101", "?limit=ten", "?limit=", "?limit=1.5", "?limit=99999999999999999999"} {
		res, body := do(t, "GET", url+"/"+query, "")
		if p := problemOf(t, res, body); res.StatusCode != 400 || p.Code != "invalid_parameter" || p.Details["parameter"] != "limit" {
			t.Errorf("%q: got %+v", query, p)
		}
	}
}

func TestProblem_abortsTheChain(t *testing.T) {
	t.Parallel()
	var reached bool
	url := serve(t, web.EngineConfig{}, func(e *gin.Engine) {
		e.GET("/", func(c *gin.Context) { web.Problem(c, context.Canceled) }, func(*gin.Context) { reached = true })
	})
	res, body := do(t, "GET", url, "")
	if p := problemOf(t, res, body); p.Code != "canceled" || reached {
		t.Errorf("got %+v, next handler reached: %v", p, reached)
	}
}
