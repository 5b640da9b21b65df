package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/pkg/admit"
	"holdfast/pkg/fault"
)

const (
	// maxRefusing bounds the connections that are being refused. While it is reached, nothing is accepted, and clients
	// wait in the kernel's queue.
	maxRefusing = 1024
	refuseTime  = 2 * time.Second // for the client to send its request and to take the refusal
	refuseRead  = 64 << 10        // bytes of the request that are read, so that it finds the refusal and not a reset
)

// boundedListener accepts a bounded number of connections for the server behind it. A connection costs net/http about
// 20 KB, whether or not it has a request. Each one beyond the bound is answered with 429 and closed, for about 3 KB.
type boundedListener struct {
	net.Listener
	most    int64
	open    atomic.Int64 // connections that the server has
	answer  []byte
	refused prometheus.Counter

	early    Refuse // nil: net/http reads each request
	draining *atomic.Bool

	refusing sync.WaitGroup
	places   chan struct{} // one for each connection that is being refused
}

func newBoundedListener(ln net.Listener, cfg Config, draining *atomic.Bool) *boundedListener {
	return &boundedListener{
		Listener: ln, most: int64(cfg.MaxConns), answer: refusal(), places: make(chan struct{}, maxRefusing),
		early: cfg.Refuse, draining: draining,
		refused: promauto.With(registerer(cfg.Registry)).NewCounter(prometheus.CounterOpts{
			Name: "http_connections_refused_total", Help: "Connections beyond the bound, answered with 429 and closed.",
		}),
	}
}

// refusal is a whole HTTP answer.
func refusal() []byte {
	p := fault.ToProblem(admit.ErrOverloaded)
	p.Status = http.StatusTooManyRequests
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // it has no details
	}
	return fmt.Appendf(nil, "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n"+
		"Retry-After: 1\r\nConnection: close\r\n\r\n%s", len(body), body)
}

// follow is the server's ConnState. It is called for a new connection before the next Accept.
func (l *boundedListener) follow(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		l.open.Add(1)
	case http.StateIdle:
		if c, ok := c.(*refusingConn); ok {
			c.idle()
		}
	case http.StateClosed, http.StateHijacked:
		l.open.Add(-1)
	}
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Load() < l.most {
			return l.wrap(c), nil
		}
		l.refused.Inc()
		l.places <- struct{}{}
		l.refusing.Go(func() {
			defer func() { <-l.places }()
			l.refuse(c)
		})
	}
}

func (l *boundedListener) wrap(c net.Conn) net.Conn {
	if tcp, ok := c.(*net.TCPConn); ok && l.early != nil {
		return &refusingConn{TCPConn: tcp, l: l, first: true}
	}
	return c
}

// crowded reports whether there are so many connections that those without a request in work are a burden.
func (l *boundedListener) crowded() bool { return l.open.Load() > l.most*2/3 }

// refuse answers the first request. It ignores errors: the client has closed the connection.
func (l *boundedListener) refuse(c net.Conn) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(refuseTime))
	head := make([]byte, 512)
	if _, err := c.Read(head); err != nil {
		return
	}
	if _, err := c.Write(l.answer); err != nil {
		return
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, c, refuseRead) // ends when the client closes
}
