package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/server"
)

// shut is a server whose orders can be refused early. Its handler answers with the request's body.
type shut struct {
	full    atomic.Bool
	refused atomic.Int64 // early
	handled atomic.Int64
	enter   chan struct{} // a request to /slow has reached the handler
	leave   chan struct{}
}

func newShut() *shut { return &shut{enter: make(chan struct{}), leave: make(chan struct{})} }

func (s *shut) refuse(line, _ []byte) []byte {
	if !s.full.Load() || string(line) != "POST /orders HTTP/1.1" && string(line) != "POST /full HTTP/1.1" {
		return nil
	}
	s.refused.Add(1)
	return []byte("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nfull")
}

func (s *shut) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handled.Add(1)
	if s.full.Load() && r.URL.Path == "/full" {
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, "full")
		return
	}
	b, _ := io.ReadAll(r.Body)
	if r.URL.Path == "/slow" {
		s.enter <- struct{}{}
		<-s.leave
	}
	_, _ = w.Write(b)
}

func (s *shut) start(tb testing.TB, most int) *running {
	tb.Helper()
	return start(tb, server.Config{Handler: s, Refuse: s.refuse, MaxConns: most})
}

// openedShut returns a full server and a connection on which one request was answered.
func openedShut(tb testing.TB) (*shut, *connection) {
	tb.Helper()
	s := newShut()
	c := connect(tb, s.start(tb, 10).url)
	s.full.Store(true)
	c.send(requestText("/other", "1"))
	c.want(200, "1")
	return s, c
}

func requestText(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func (c *connection) send(text string) {
	c.tb.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.tb.Fatal(err)
	}
}

// want reads one answer.
func (c *connection) want(status int, body string) *http.Response {
	c.tb.Helper()
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.tb.Fatalf("read the answer: %v", err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status || string(b) != body {
		c.tb.Fatalf("got %d %q (%v), want %d %q", res.StatusCode, b, err, status, body)
	}
	return res
}

func (s *shut) want(tb testing.TB, refused, handled int64) {
	tb.Helper()
	if r, h := s.refused.Load(), s.handled.Load(); r != refused || h != handled {
		tb.Errorf("%d were refused early and %d reached the handler, want %d and %d", r, h, refused, handled)
	}
}

func TestRefuse_keepsTheConnection(t *testing.T) {
	t.Parallel()
	s := newShut()
	c := connect(t, s.start(t, 10).url)
	s.full.Store(true)
	const n = 20
	refusals := func() {
		t.Helper()
		early := s.refused.Load()
		for range n {
			c.send(requestText("/orders", "again"))
			c.want(429, "full")
		}
		if got := s.refused.Load(); got != early+n {
			t.Errorf("%d of %d were refused early", got-early, n)
		}
	}
	refusals()
	c.send(requestText("/other", "other"))
	c.want(200, "other")
	early := s.refused.Load()
	testkit.EventuallyTrue(t, 10*time.Second, "the connection is back from net/http, which may have read one byte ahead", func() bool {
		c.send(requestText("/full", ""))
		c.want(429, "full")
		return s.refused.Load() > early
	})
	refusals()
	s.full.Store(false)
	c.send(requestText("/orders", "at last"))
	c.want(200, "at last")
}

// A body that reads like a request is a body, whatever the boundaries of the packets are.
func TestRefuse_bodyIsNoRequest(t *testing.T) {
	t.Parallel()
	s, c := openedShut(t)
	inner := requestText("/orders", "inner")
	head, body, _ := strings.Cut(requestText("/other", inner), "\r\n\r\n")
	c.send(head + "\r\n\r\n")
	time.Sleep(20 * time.Millisecond) // so that the body is a read of its own; without it the test proves less
	c.send(body)
	c.want(200, inner)
	s.want(t, 0, 2)
}

func TestRefuse_pipelinedRequestsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	s, c := openedShut(t)
	c.send(requestText("/other", "2") + requestText("/orders", "3") + requestText("/other", "4"))
	for _, body := range []string{"2", "3", "4"} {
		c.want(200, body)
	}
	s.want(t, 0, 4)
}

// The head of the second request comes with the first one, so net/http reads a body when it wants a request.
func TestRefuse_bodyOfPipelinedRequest(t *testing.T) {
	t.Parallel()
	s, c := openedShut(t)
	inner := requestText("/orders", "inner")
	head, body, _ := strings.Cut(requestText("/other", inner), "\r\n\r\n")
	c.send(requestText("/other", "2") + head + "\r\n\r\n")
	c.want(200, "2")
	time.Sleep(20 * time.Millisecond) // so that net/http waits for the body; without it the test proves less
	c.send(body)
	c.want(200, inner)
	s.want(t, 0, 3)
}

// A request that comes while its predecessor is handled is read by net/http, in part.
func TestRefuse_requestDuringAnother(t *testing.T) {
	t.Parallel()
	s, c := openedShut(t)
	c.send(requestText("/slow", "2"))
	<-s.enter
	c.send("X") // POST becomes XPOST
	time.Sleep(20 * time.Millisecond)
	c.send(requestText("/orders", "3"))
	close(s.leave)
	c.want(200, "2")
	c.want(200, "3")
	s.want(t, 0, 3)
}

func TestRefuse_notWhileStopping(t *testing.T) {
	t.Parallel()
	s := newShut()
	r := start(t, server.Config{Handler: s, Refuse: s.refuse, MaxConns: 10, DrainDelay: 2 * time.Second})
	c := connect(t, r.url)
	c.send(requestText("/orders", ""))
	c.want(200, "")
	s.full.Store(true)
	r.stop()
	testkit.EventuallyTrue(t, 10*time.Second, "the server says that it is draining", func() bool {
		status, body, _ := get(t, newClient(t), r.ops+"/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "draining")
	})
	c.send(requestText("/orders", "last"))
	if res := c.want(200, "last"); !res.Close {
		t.Error("the answer does not close the connection")
	}
	s.want(t, 0, 2)
}
