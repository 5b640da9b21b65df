package server

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// linger is how long a connection stays with net/http after an answer: a busy client's next request then costs neither
// a goroutine nor a way through Accept, together some 20 µs.
const linger = 20 * time.Millisecond

// visit is the time that a connection spends in net/http, from the begin of a request until no request follows.
//
// net/http has no way to give a connection back. But it closes a connection that ends between two requests, after it
// has released its buffers, and without another read or write. So when it asks for the next request and none comes
// soon, Read says that the connection has ended, and Close does not close it but has it wait in the lobby.
//
// The danger is that net/http has a part of the next request by then, which would be lost. It has if the client sent
// two requests at once, or the second one while the first was handled: net/http reads one byte ahead to notice that the
// client hangs up. Then the connection stays: with up to three bytes net/http asks for less than its whole buffer, and
// with more it does not ask before it sets the deadline for the next head.
type visit struct {
	net.Conn
	l     *lobby
	first [1]byte
	buf   *[beginSize]byte // nil: ahead is not in it
	ahead []byte           // what was read in the lobby and not by net/http

	// Only the goroutine of the connection writes these fields, and no other one is in Read then; so they need no lock.
	whole int // size of net/http's buffer; 0 before the first read
	phase phase

	leaving atomic.Bool // net/http was told that the connection has ended
	closed  atomic.Bool // by net/http: the connection is another visit's
}

// phase is what net/http does with a connection.
type phase int

const (
	inRequest phase = iota // reads or handles a request
	answered               // has sent the answer
	wantsNext              // and has set the deadline for the begin of the next request
)

// follow is the server's ConnState.
func follow(c net.Conn, state http.ConnState) {
	if v, ok := c.(*visit); ok && state == http.StateIdle {
		v.phase = answered
	}
}

// SetReadDeadline implements net.Conn. The second one after an answer is that of the next request's head.
func (v *visit) SetReadDeadline(t time.Time) error {
	switch v.phase {
	case answered:
		v.phase = wantsNext
	case wantsNext:
		v.phase = inRequest
	case inRequest:
	}
	return v.Conn.SetReadDeadline(t)
}

// Read implements net.Conn.
func (v *visit) Read(p []byte) (int, error) {
	if v.whole == 0 {
		v.whole = len(p)
	}
	if len(v.ahead) > 0 {
		n := copy(p, v.ahead)
		v.ahead = v.ahead[n:]
		if len(v.ahead) == 0 && v.buf != nil {
			v.l.buffers.Put(v.buf)
			v.buf = nil
		}
		return n, nil
	}
	if v.phase == wantsNext && len(p) == v.whole {
		return v.next(p)
	}
	if v.phase != inRequest {
		v.phase = inRequest
	}
	return v.Conn.Read(p)
}

// next reads the begin of the next request for net/http, which has no part of it. When none comes soon the connection
// leaves.
func (v *visit) next(p []byte) (int, error) {
	for {
		_ = v.Conn.SetReadDeadline(time.Now().Add(linger)) // an error would be one of Read, too
		n, err := v.Conn.Read(p)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			v.leaving.Store(true)
			return 0, io.EOF
		}
		if err != nil {
			return n, err
		}
		if answer := v.l.refusal(p[:n]); answer != nil {
			if err := v.l.reply(v.Conn, answer); err != nil {
				return 0, err
			}
			continue
		}
		v.phase = inRequest
		_ = v.Conn.SetReadDeadline(time.Now().Add(headerTimeout)) // net/http sets it only when it has four bytes
		return n, nil
	}
}

// CloseWrite has net/http send an end after an answer to a request that it did not read to its end.
func (v *visit) CloseWrite() error { return closeWrite(v.Conn) }

// Close implements net.Conn.
func (v *visit) Close() error {
	if !v.closed.CompareAndSwap(false, true) {
		return nil
	}
	<-v.l.busy
	if v.leaving.Load() {
		v.l.enter(v.Conn, idleTimeout)
		return nil
	}
	v.l.open.Add(-1)
	return v.Conn.Close()
}
