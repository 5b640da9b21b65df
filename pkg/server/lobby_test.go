package server_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
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
		"# HELP http_connections_refused_total Connections beyond a bound, answered with 429 and closed.\n"+
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

// An idle connection must not hold what net/http needs for one: two buffers and a grown stack.
func TestRun_idleConnectionsLeaveNetHTTP(t *testing.T) {
	r := start(t, server.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })})
	const n = 50
	served := make([]*connection, n)
	for range 3 {
		for i := range served {
			if served[i] == nil {
				served[i] = connect(t, r.url)
			}
			if res, body := served[i].get(); res.StatusCode != 200 || body != "ok" {
				t.Fatalf("%d %s", res.StatusCode, body)
			}
		}
		testkit.EventuallyTrue(t, 10*time.Second, "no idle connection has a goroutine in net/http", func() bool {
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			return bytes.Count(stacks, []byte("net/http.(*conn).serve")) == 0 && bytes.Count(stacks, []byte(").wait(")) >= n
		})
	}
}

// A request of which net/http has read the beginning, with the one before or while that one was handled, is not lost.
func TestRun_requestThatNetHTTPHasInPart(t *testing.T) {
	t.Parallel()
	s := newShut()
	r := s.start(t, 100)
	const first, next = "first", "next"
	for cut := range len(requestText("/other", next)) {
		t.Run(fmt.Sprintf("%d bytes with the request before", cut), func(t *testing.T) {
			t.Parallel()
			c, text := connect(t, r.url), requestText("/other", next)
			c.send(requestText("/other", first) + text[:cut])
			c.want(200, first)
			time.Sleep(5 * time.Millisecond) // so that net/http asks for more; without it the test proves less
			c.send(text[cut:])
			c.want(200, next)
			c.send(requestText("/other", "last"))
			c.want(200, "last")
		})
	}
}

// A client that waits between two requests is served on the same connection, however often.
func TestRun_connectionIsKept(t *testing.T) {
	t.Parallel()
	c := connect(t, newShut().start(t, 10).url)
	for i := range 100 {
		body := strings.Repeat("x", i*200) // larger than any buffer in the end
		c.send(requestText("/other", body))
		if res := c.want(200, body); res.Close {
			t.Fatal("the answer closes the connection")
		}
	}
}

// Connections without a request do not delay the stop, and are closed by it.
func TestRun_stopClosesIdleConnections(t *testing.T) {
	t.Parallel()
	r := newShut().start(t, 10)
	fresh, used := connect(t, r.url), connect(t, r.url)
	used.send(requestText("/other", "1"))
	used.want(200, "1")
	r.stop()
	if err := <-r.done; err != nil {
		t.Errorf("run: %v", err)
	}
	for _, c := range []*connection{fresh, used} {
		if _, err := c.r.ReadByte(); err != io.EOF {
			t.Errorf("an idle connection: %v, want it closed in good order", err)
		}
	}
}

// A new connection that sends nothing, or a part of a head, is closed after a while.
func TestRun_silentConnectionIsClosed(t *testing.T) {
	t.Parallel()
	url := newShut().start(t, 10).url
	for _, text := range []string{"", "P", "POST / HTTP/1.1\r\n"} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			c := connect(t, url)
			c.send(text)
			if b, err := c.r.ReadByte(); err != io.EOF {
				t.Errorf("read %q, %v; want the connection closed", b, err)
			}
		})
	}
}

// A connection that net/http closes, because the client asks for it, frees its place.
func TestRun_closedConnectionFreesItsPlace(t *testing.T) {
	t.Parallel()
	url := newShut().start(t, 1).url
	for i := range 5 {
		testkit.EventuallyTrue(t, 10*time.Second, fmt.Sprintf("connection %d is served", i), func() bool {
			c := connect(t, url)
			c.send("POST /other HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			res, err := http.ReadResponse(c.r, nil)
			return err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK
		})
	}
}

// A request that begins while the connection lingers in net/http may come as slowly as any other.
func TestRun_requestBeginsSlowly(t *testing.T) {
	t.Parallel()
	c := connect(t, newShut().start(t, 10).url)
	for range 3 {
		text := requestText("/other", "slow")
		c.send(text[:1])
		time.Sleep(50 * time.Millisecond) // longer than a connection lingers
		c.send(text[1:])
		c.want(200, "slow")
	}
}

// TestRun_requestsAreBounded checks that a request waits for a place in net/http, and is refused when none becomes
// free.
func TestRun_requestsAreBounded(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	r := start(t, server.Config{
		MaxBusy: 2, RequestTimeout: 15 * time.Second, Registry: telemetry.NewRegistry(),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			entered <- struct{}{}
			<-leave
			_, _ = io.WriteString(w, "ok")
		}),
	})
	answers := make(chan int, 10)
	ask := func() {
		c := connect(t, r.url)
		go func() {
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
				answers <- 0
				return
			}
			res, err := http.ReadResponse(c.r, nil)
			if err != nil {
				answers <- 0
				return
			}
			_ = res.Body.Close()
			answers <- res.StatusCode
		}()
	}
	ask()
	ask()
	<-entered
	<-entered
	ask() // waits for too long
	if got := <-answers; got != http.StatusTooManyRequests {
		t.Errorf("the third request was answered with %d, want 429", got)
	}
	ask()
	ask() // these wait for less
	close(leave)
	for range 4 {
		if got := <-answers; got != http.StatusOK {
			t.Errorf("a request was answered with %d, want 200", got)
		}
	}
	if len(entered) != 2 {
		t.Errorf("%d requests came to the handler after the first two, want 2", len(entered))
	}
}
