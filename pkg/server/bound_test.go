package server_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/server"
	"holdfast/pkg/telemetry"
)

// connection is a keep-alive connection of a client that sends by hand.
type connection struct {
	tb testing.TB
	net.Conn
	r *bufio.Reader
}

func connect(tb testing.TB, url string) *connection {
	tb.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &connection{tb, c, bufio.NewReader(c)}
}

// get sends a request and returns the answer, closed by the server or not, and its body.
func (c *connection) get() (*http.Response, string) {
	c.tb.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
		c.tb.Fatal(err)
	}
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.tb.Fatalf("read the answer: %v", err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.tb.Fatal(err)
	}
	return res, string(b)
}

func TestRun_connectionsAreBounded(t *testing.T) {
	t.Parallel()
	registry := telemetry.NewRegistry()
	r := start(t, server.Config{
		MaxConns: 2, Registry: registry,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }),
	})
	first, second := connect(t, r.url), connect(t, r.url)
	for _, c := range []*connection{first, second} {
		if res, body := c.get(); res.StatusCode != 200 || body != "ok" {
			t.Fatalf("within the bound: %d %s", res.StatusCode, body)
		}
	}
	third := connect(t, r.url)
	res, body := third.get()
	var p struct {
		Code, Kind string
		Ambiguous  bool
		Status     int
	}
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 429 || p.Code != "overloaded" || p.Kind != "limited" || p.Status != 429 || p.Ambiguous || !res.Close || res.Header.Get("Retry-After") == "" {
		t.Errorf("beyond the bound: %d %v %s", res.StatusCode, res.Header, body)
	}
	if _, err := third.r.ReadByte(); err != io.EOF {
		t.Errorf("the refused connection: %v, want it closed in good order", err)
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(
		"# HELP http_connections_refused_total Connections beyond the bound, answered with 429 and closed.\n"+
			"# TYPE http_connections_refused_total counter\nhttp_connections_refused_total 1\n"), "http_connections_refused_total"); err != nil {
		t.Error(err)
	}
	if res, _ := first.get(); res.StatusCode != 200 {
		t.Errorf("a connection that was there before: %d", res.StatusCode)
	}
	_ = second.Close()
	testkit.EventuallyTrue(t, 10*time.Second, "the place of a closed connection is free", func() bool {
		res, _ := connect(t, r.url).get()
		return res.StatusCode == http.StatusOK
	})
}

// A client that is refused and sends nothing does not keep the service from stopping.
func TestRun_refusedConnectionThatIsSilent(t *testing.T) {
	t.Parallel()
	r := start(t, server.Config{MaxConns: 1, Handler: http.NotFoundHandler()})
	connect(t, r.url).get()
	connect(t, r.url) // silent
	began := time.Now()
	r.stop()
	if err := <-r.done; err != nil {
		t.Errorf("run: %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %v", took)
	}
}
