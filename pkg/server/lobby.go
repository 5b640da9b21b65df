package server

import (
	"bytes"
	"encoding/json"
	"errors"
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
	// maxRefusing bounds the connections beyond the bound that are being refused. While it is reached, nothing is
	// accepted, and clients wait in the kernel's queue.
	maxRefusing = 1024
	refuseTime  = 2 * time.Second // for the client to send its request and to take the refusal
	refuseRead  = 64 << 10        // bytes of the request that are read, so that it finds the refusal and not a reset

	placeTime = 5 * time.Second // how long a request may wait for a place in net/http
	beginSize = 4 << 10         // bytes of a request that are read before net/http has the connection
)

// lobby is the listener of a server, and the place where its connections wait while they have no request. A connection
// costs net/http about 18 KB, whether or not it has a request: two buffers and a stack that has grown. With 3,000
// connections and a memory limit of 80 MiB the garbage collector then ran 20 times a second, each time over all stacks,
// and took more than half of the gateway's CPU time. A connection in the lobby costs a goroutine with a small stack.
//
// A connection comes to net/http from Accept, when a request begins to arrive. It goes back to the lobby when net/http
// has sent its answer, no other request came soon, and net/http closes what it takes for an ended connection (see
// visit). Each connection beyond the bound is answered with 429 and closed. So is each whose request waited for too
// long for one of the places in net/http: its buffers and stacks are bounded by them, whatever 3,000 connections ask
// for.
//
// Here and when a connection lingers it is certain where a request begins. So it can be refused for little: in net/http
// a refusal costs 3 KB of garbage and two goroutines (see docs/adr/022 and 026).
type lobby struct {
	net.Listener
	most    int64
	open    atomic.Int64 // connections, with and without a request
	answer  []byte       // to a connection beyond the bound
	refused prometheus.Counter

	early    Refuse // nil: net/http reads each request
	draining *atomic.Bool

	ready   chan *visit   // those to which a request comes
	busy    chan struct{} // places in net/http
	failed  chan error    // of the listener
	buffers sync.Pool     // of *[beginSize]byte
	places  chan struct{}

	mu      sync.Mutex
	closed  bool
	done    chan struct{} // closed with closed
	waiting map[*visit]struct{}
	running sync.WaitGroup
}

// newLobby accepts connections of the listener until the lobby is closed.
func newLobby(ln net.Listener, cfg Config, draining *atomic.Bool) *lobby {
	l := &lobby{
		Listener: ln, most: int64(cfg.MaxConns), answer: refusal(), early: cfg.Refuse, draining: draining,
		ready: make(chan *visit), failed: make(chan error), done: make(chan struct{}),
		busy: make(chan struct{}, cfg.MaxBusy), places: make(chan struct{}, maxRefusing), waiting: map[*visit]struct{}{},
		refused: promauto.With(registerer(cfg.Registry)).NewCounter(prometheus.CounterOpts{
			Name: "http_connections_refused_total", Help: "Connections beyond a bound, answered with 429 and closed.",
		}),
	}
	l.buffers.New = func() any { return new([beginSize]byte) }
	l.running.Go(l.accept)
	return l
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

// accept takes the connections from the kernel.
func (l *lobby) accept() {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			select {
			case l.failed <- err: // net/http decides whether it goes on
				continue
			case <-l.done:
				return
			}
		}
		if l.open.Load() < l.most {
			l.open.Add(1)
			l.enter(c, headerTimeout)
			continue
		}
		l.refused.Inc()
		l.places <- struct{}{}
		l.running.Go(func() {
			defer func() { <-l.places }()
			l.refuse(c)
		})
	}
}

// refuse answers the first request of a connection beyond the bound. It ignores errors: the client has closed the
// connection.
func (l *lobby) refuse(c net.Conn) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(refuseTime))
	head := make([]byte, 512)
	if _, err := c.Read(head); err != nil {
		return
	}
	if _, err := c.Write(l.answer); err != nil {
		return
	}
	_ = closeWrite(c)
	_, _ = io.CopyN(io.Discard, c, refuseRead) // ends when the client closes
}

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Accept implements net.Listener. It returns a connection to which a request comes.
func (l *lobby) Accept() (net.Conn, error) {
	select {
	case v := <-l.ready:
		return v, nil
	case err := <-l.failed:
		return nil, err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It also closes the connections that have no request.
func (l *lobby) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.done)
	for v := range l.waiting {
		_ = v.Conn.SetReadDeadline(time.Now()) // its goroutine closes it
	}
	return l.Listener.Close()
}

// enter has a connection wait for its next request, for this long at most.
func (l *lobby) enter(c net.Conn, patience time.Duration) {
	v := &visit{Conn: c, l: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		l.end(c)
		return
	}
	l.await(v, patience)
	l.running.Go(func() { l.wait(v) })
}

// await has a connection wait for what it reads, for this long at most. The caller has the lock, as Close sets an end
// of its own.
func (l *lobby) await(v *visit, patience time.Duration) {
	_ = v.Conn.SetReadDeadline(time.Now().Add(patience)) // an error would be one of Read, too
	l.waiting[v] = struct{}{}
}

// again sets how long the rest of a request may take, or the begin of another one, and reports whether the connection
// may stay.
func (l *lobby) again(v *visit, patience time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.await(v, patience)
	}
	return !l.closed
}

// wait waits until a request begins to arrive, and passes the connection to net/http. Requests that are refused here do
// not end the wait.
func (l *lobby) wait(v *visit) {
	for {
		// This goroutine holds no buffer while it waits.
		if _, err := v.Conn.Read(v.first[:]); err != nil {
			break
		}
		answer, err := l.begin(v)
		if err != nil {
			break
		}
		if answer == nil {
			l.pass(v)
			return
		}
		l.buffers.Put(v.buf)
		v.buf, v.ahead = nil, nil
		if l.reply(v.Conn, answer) != nil || !l.again(v, idleTimeout) {
			break
		}
	}
	l.forget(v)
	l.end(v.Conn)
}

// begin reads the begin of a request, and returns the answer to one that is refused.
func (l *lobby) begin(v *visit) (answer []byte, err error) {
	v.buf, _ = l.buffers.Get().(*[beginSize]byte)
	v.buf[0] = v.first[0]
	if !l.again(v, headerTimeout) {
		return nil, net.ErrClosed
	}
	n, err := v.Conn.Read(v.buf[1:])
	if err != nil {
		return nil, err
	}
	v.ahead = v.buf[:1+n]
	return l.refusal(v.ahead), nil
}

// refusal returns the answer to a request that is refused. p is what was read where a request begins.
func (l *lobby) refusal(p []byte) []byte {
	if l.early == nil || l.draining.Load() {
		return nil
	}
	line, id, whole := parseWhole(p)
	if !whole {
		return nil
	}
	return l.early(line, id)
}

// reply sends the answer to a request that is refused.
func (l *lobby) reply(c net.Conn, answer []byte) error {
	_ = c.SetWriteDeadline(time.Now().Add(refuseTime)) // an error would be one of Write, too
	_, err := c.Write(answer)
	return err
}

// pass gives a connection to net/http.
func (l *lobby) pass(v *visit) {
	l.forget(v)
	if !l.takePlace(v) {
		l.end(v.Conn)
		return
	}
	select {
	case l.ready <- v:
	case <-l.done:
		<-l.busy
		l.end(v.Conn)
	}
}

// takePlace waits for a place in net/http, and reports whether there is one. Nothing is read while it waits, so that a
// client that has hung up is noticed later.
func (l *lobby) takePlace(v *visit) bool {
	select {
	case l.busy <- struct{}{}:
		return true
	default:
	}
	v.ahead = bytes.Clone(v.ahead) // some 300 bytes, instead of a buffer of 4 KB
	l.buffers.Put(v.buf)
	v.buf = nil
	timeout := time.NewTimer(placeTime)
	defer timeout.Stop()
	select {
	case l.busy <- struct{}{}:
		return true
	case <-timeout.C:
		l.refused.Inc()
		_ = l.reply(v.Conn, l.answer) // an error: the client has hung up
	case <-l.done:
	}
	return false
}

func (l *lobby) forget(v *visit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, v)
}

// end closes a connection for good.
func (l *lobby) end(c net.Conn) {
	_ = c.Close() // nobody is left who could do something about an error
	l.open.Add(-1)
}
