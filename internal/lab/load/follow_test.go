package load_test

import (
	"testing"

	"holdfast/internal/lab/load"
)

// answers of the shop to an order that is followed.
const (
	accepted    = "HTTP/1.1 202 Accepted\r\nLocation: /v1/orders/1\r\nContent-Length: 2\r\n\r\n{}"
	pending     = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"status\":\"PENDING\"}"
	decided     = "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"status\":\"PLACED\"}"
	lastPending = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 20\r\n\r\n{\"status\":\"PENDING\"}" + cut
)

// TestConn_Order_followedToTheEnd: an order is read until it is decided. Without a connection on which it can be read
// it stays undecided, and what is no answer is an error.
func TestConn_Order_followedToTheEnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		answers []string
		status  int // 0: an error
		reads   int
	}{
		{"decided at the third read", []string{accepted, pending, pending, decided}, 201, 3},
		{"the server closes while it is pending", []string{accepted, pending, lastPending}, 202, 2},
		{"the server closes after it has accepted", []string{"HTTP/1.1 202 Accepted\r\nConnection: close\r\nLocation: /v1/orders/1\r\nContent-Length: 0\r\n\r\n" + cut}, 202, 0},
		{"accepted without a location", []string{"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"}, 0, 0},
		{"the read is overloaded", []string{accepted, "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}"}, 429, 1},
		{"the read is lost", []string{accepted, cut}, 0, 1},
		{"the read is cut", []string{accepted, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{" + cut}, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, tt.answers...)
			to := s.target()
			to.Follow = true
			c := load.NewConn(to, "run", 0)
			defer c.Close()
			status, err := c.Order(t.Context())
			if (err != nil) != (tt.status == 0) || err == nil && status != tt.status {
				t.Errorf("got %d, error %v; want %d", status, err, tt.status)
			}
			requests, _ := s.seen()
			if len(requests) != 1+tt.reads {
				t.Fatalf("%d requests, want the order and %d reads: %v", len(requests), tt.reads, requests)
			}
			for _, r := range requests[1:] {
				if r.Line != "GET /v1/orders/1?wait=2s" || r.Token != "Bearer a" || r.Key != "" {
					t.Errorf("a read is %+v", r)
				}
			}
		})
	}
}

// TestConn_Order_locationOfThisOrder: the location of an earlier order is not read for an order whose answer has none.
func TestConn_Order_locationOfThisOrder(t *testing.T) {
	t.Parallel()
	s := newScript(t, accepted, decided, "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}", decided)
	to := s.target()
	to.Follow = true
	c := load.NewConn(to, "run", 0)
	defer c.Close()
	if status, err := c.Order(t.Context()); status != 201 || err != nil {
		t.Fatalf("the first order: %d, error %v", status, err)
	}
	if status, err := c.Order(t.Context()); err == nil {
		t.Errorf("the second order was followed to the status %d", status)
	}
	if requests, _ := s.seen(); len(requests) != 3 {
		t.Errorf("%d requests, want two orders and one read: %v", len(requests), requests)
	}
}
