package web_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/admit"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
)

// answerTo parses what Refuse returned.
func answerTo(tb testing.TB, b []byte) (*http.Response, string) {
	tb.Helper()
	r := bufio.NewReader(bytes.NewReader(b))
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		tb.Fatalf("%v: %q", err, b)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || r.Buffered() > 0 {
		tb.Fatalf("the body is %q, %v, and %d bytes are left", body, err, r.Buffered())
	}
	return res, string(body)
}

// A client cannot tell which of the two places has refused it.
func TestRefuser_Refuse(t *testing.T) {
	t.Parallel()
	limiter, slot := full(t)
	refuser := web.NewRefuser(map[web.Route]*admit.Limiter{
		{Method: "POST", Pattern: "/orders"}: limiter, {Method: "POST", Pattern: "/orders/:no"}: limiter,
	})
	var log logBuffer
	registry := prometheus.NewRegistry()
	url := serve(t, web.EngineConfig{Log: telemetry.NewLogger(&log, "test"), Registry: registry, Refuser: refuser}, func(e *gin.Engine) {
		e.POST("/orders", func(c *gin.Context) { c.String(200, "ok") })
		e.POST("/orders/:no", func(c *gin.Context) { c.String(200, "ok") })
	})
	want, wantBody := do(t, "POST", url+"/orders", "{}", header.RequestID, "abc")
	got, gotBody := answerTo(t, refuser.Refuse([]byte("POST /orders HTTP/1.1"), []byte("abc")))
	if diff := cmp.Diff(wantBody, gotBody); diff != "" || got.StatusCode != want.StatusCode || got.Status != want.Status {
		t.Errorf("the answer is %s, the engine's %s (-engine +this):\n%s", got.Status, want.Status, diff)
	}
	date, err := http.ParseTime(got.Header.Get("Date"))
	if err != nil || time.Since(date).Abs() > time.Minute {
		t.Errorf("the date is %q: %v", got.Header.Get("Date"), err)
	}
	got.Header.Del("Date")
	want.Header.Del("Date")
	if diff := cmp.Diff(want.Header, got.Header); diff != "" {
		t.Errorf("headers (-engine +this):\n%s", diff)
	}
	testkit.EventuallyTrue(t, 10*time.Second, "one refusal has an access line", func() bool { return log.count(`"request_id":"abc"`) == 1 })
	const counted = "# HELP http_requests_total Requests answered.\n# TYPE http_requests_total counter\n" +
		"http_requests_total{method=\"POST\",route=\"/orders\",status=\"429\"} 2\n" +
		"http_requests_total{method=\"POST\",route=\"/orders/:no\",status=\"429\"} 0\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(counted), "http_requests_total"); err != nil {
		t.Error(err)
	}

	if got.Close {
		t.Error("the answer says that the connection is closed")
	}
	for _, line := range []string{"GET /orders HTTP/1.1", "POST /orders/1 HTTP/1.1", "POST /orders?a=1 HTTP/1.1", "POST /other HTTP/1.1", ""} {
		if b := refuser.Refuse([]byte(line), nil); b != nil {
			t.Errorf("%q is answered %q", line, b)
		}
	}
	slot.Release(admit.Malformed)
	if b := refuser.Refuse([]byte("POST /orders HTTP/1.1"), nil); b != nil {
		t.Errorf("with a free slot the answer is %q", b)
	}
}

// An id that would end up in a header and a log line is replaced if it has room for anything else.
func TestRefuser_Refuse_requestID(t *testing.T) {
	t.Parallel()
	limiter, _ := full(t)
	refuser := web.NewRefuser(map[web.Route]*admit.Limiter{{Method: "POST", Pattern: "/orders"}: limiter})
	if refuser.Refuse([]byte("POST /orders HTTP/1.1"), nil) != nil {
		t.Error("it refuses without an engine")
	}
	serve(t, web.EngineConfig{Refuser: refuser}, func(*gin.Engine) {})
	for _, id := range []string{"", "a b", `"`, strings.Repeat("x", 65)} {
		res, body := answerTo(t, refuser.Refuse([]byte("POST /orders HTTP/1.1"), []byte(id)))
		var p fault.Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if p.RequestID == "" || p.RequestID == id || p.RequestID != res.Header.Get(header.RequestID) {
			t.Errorf("for %q the problem has the id %q, the header %q", id, p.RequestID, res.Header.Get(header.RequestID))
		}
	}
}
