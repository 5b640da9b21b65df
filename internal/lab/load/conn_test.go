package load_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/load"
)

// script is a server that writes raw answers, one for each request. It closes a connection after an answer that is cut.
type script struct {
	addr string

	mu       sync.Mutex
	answers  []string
	requests []request
	conns    int
}

// request is what the script has read of a request.
type request struct {
	Line, Key, Token, Body string
	Strategy, Flow         []string // headers
}

// cut at the end of an answer has the script close the connection.
const cut = "\x00"

func newScript(t *testing.T, answers ...string) *script {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{addr: l.Addr().String(), answers: answers}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
			running.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	return s
}

// serve answers the requests of a connection until the client closes it.
func (s *script) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.requests = append(s.requests, request{
			Line: req.Method + " " + req.RequestURI, Key: req.Header.Get("Idempotency-Key"), Token: req.Header.Get("Authorization"),
			Strategy: req.Header.Values("X-Stock-Strategy"), Flow: req.Header.Values("X-Order-Flow"), Body: string(body),
		})
		next := s.answers[0]
		if len(s.answers) > 1 { // the last one is repeated
			s.answers = s.answers[1:]
		}
		s.mu.Unlock()
		text, closing := strings.CutSuffix(next, cut)
		if _, err := io.WriteString(c, text); err != nil || closing {
			return
		}
	}
}

func (s *script) seen() (requests []request, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests), s.conns
}

func (s *script) target() load.Target {
	return load.Target{Addr: s.addr, Name: "S", Tokens: []string{"a"}, Baskets: []string{load.Basket("A")}}
}

// placed is the answer of an order that is placed.
const placed = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"

// TestConn_Order_malformed: an answer that the gateway does not give is an error. The connection is closed, so that the
// rest of the answer is not read as the answer of the next order, which has a new key.
func TestConn_Order_malformed(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"not HTTP":           "hello\n",
		"no digits":          "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\n{}",
		"no length":          "HTTP/1.1 201 Created\r\n\r\n",
		"chunks":             "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"negative length":    "HTTP/1.1 201 Created\r\nContent-Length: -2\r\n\r\n{}",
		"length no number":   "HTTP/1.1 201 Created\r\nContent-Length: 0x2\r\n\r\n{}",
		"body too long":      "HTTP/1.1 201 Created\r\nContent-Length: 1048577\r\n\r\n" + strings.Repeat(" ", 1<<20+1),
		"endless header":     "HTTP/1.1 201 Created\r\nX: " + strings.Repeat("x", 2000) + "\r\nContent-Length: 2\r\n\r\n{}",
		"cut in the status":  "HTTP/1.1 2" + cut,
		"cut in the headers": "HTTP/1.1 201 Created\r\nContent-Len" + cut,
		"cut in the body":    "HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\n{}" + cut,
		"no answer":          cut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, answer, placed)
			c := load.NewConn(s.target(), "run", 7)
			defer c.Close()
			if status, err := c.Order(t.Context()); err == nil {
				t.Errorf("was read as the status %d", status)
			}
			if status, err := c.Order(t.Context()); status != http.StatusCreated || err != nil {
				t.Errorf("the order after it: %d, error %v", status, err)
			}
			requests, conns := s.seen()
			if len(requests) != 2 || conns != 2 {
				t.Fatalf("%d requests on %d connections, want 2 on 2", len(requests), conns)
			}
			if requests[0].Key != "S-run-7-000000000001" || requests[1].Key != "S-run-7-000000000002" {
				t.Errorf("the keys are %q and %q", requests[0].Key, requests[1].Key)
			}
		})
	}
}

// TestConn_Order_keepsConnection: names of headers and the word close have any case, and the longest body that an
// answer may have is read to its end.
func TestConn_Order_keepsConnection(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, answer  string
		status, conns int
	}{
		{"lower case", "HTTP/1.1 201 Created\r\ncontent-length:2\r\n\r\n{}", 201, 1},
		{"no body", "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n", 429, 1},
		{"bare line feeds", "HTTP/1.1 409 Conflict\nContent-Length:  2 \n\n{}", 409, 1},
		{"longest body", "HTTP/1.1 201 Created\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat(" ", 1<<20), 201, 1},
		{"keep-alive", "HTTP/1.1 201 Created\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}", 201, 1},
		{"close", "HTTP/1.1 503 Service Unavailable\r\nCONNECTION: Close\r\nContent-Length: 2\r\n\r\n{}", 503, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, tt.answer)
			c := load.NewConn(s.target(), "run", 0)
			defer c.Close()
			for range 3 {
				if status, err := c.Order(t.Context()); status != tt.status || err != nil {
					t.Errorf("got %d, error %v; want %d", status, err, tt.status)
				}
			}
			if requests, conns := s.seen(); len(requests) != 3 || conns != tt.conns {
				t.Errorf("%d requests on %d connections, want 3 on %d", len(requests), conns, tt.conns)
			}
		})
	}
}

// TestConn_Order_requests: each connection has one of the tokens and sends all baskets, and each order has a key of its
// own. A header without a value is not sent.
func TestConn_Order_requests(t *testing.T) {
	t.Parallel()
	s := newScript(t, placed)
	to := s.target()
	to.Tokens = []string{"a", "b"}
	to.Baskets = []string{load.Basket("A"), load.Basket("B", "C"), load.Basket(`D"`)}
	to.Strategy, to.Flow = "conditional", "queue"
	for i := range 4 {
		if i == 3 {
			to.Strategy, to.Flow = "", ""
		}
		c := load.NewConn(to, "run", i)
		for range len(to.Baskets) {
			if status, err := c.Order(t.Context()); status != http.StatusCreated || err != nil {
				t.Fatalf("got %d, error %v", status, err)
			}
		}
		c.Close()
		c.Close() // is safe twice
	}
	requests, _ := s.seen()
	var firsts []string
	for i := range 4 {
		of := requests[3*i : 3*i+3]
		firsts = append(firsts, of[0].Body)
		var bodies []string
		for n, r := range of {
			bodies = append(bodies, r.Body)
			want := request{
				Line: "POST /v1/orders", Key: fmt.Sprintf("S-run-%d-%012d", i, n+1), Token: "Bearer " + to.Tokens[i%2],
				Strategy: []string{"conditional"}, Flow: []string{"queue"}, Body: r.Body,
			}
			if i == 3 {
				want.Strategy, want.Flow = nil, nil
			}
			if diff := cmp.Diff(want, r); diff != "" {
				t.Errorf("order %d of connection %d (-want +got):\n%s", n, i, diff)
			}
		}
		if slices.Sort(bodies); !slices.Equal(bodies, slices.Sorted(slices.Values(to.Baskets))) {
			t.Errorf("connection %d does not send each basket: %q", i, bodies)
		}
	}
	if slices.Sort(firsts[:3]); len(slices.Compact(firsts[:3])) != 3 {
		t.Errorf("connections begin with the same basket: %q", firsts)
	}
}
