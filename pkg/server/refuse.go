package server

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"time"
)

// Refuse may answer a request that net/http has not read. line is the request line without its end, id the value of
// X-Request-Id. It returns the whole answer, which must be a refusal that depends on nothing else and says whether the
// connection is closed after it, or nil: then the request goes its usual way.
type Refuse func(line, id []byte, closing bool) []byte

// refusingConn answers requests itself while the service refuses them. In net/http, a refusal costs 3 KB of garbage and
// two goroutines. With 3,000 connections nearly all memory is in use, and at ten times the capacity the collector then
// took more than half of the gateway's CPU time, which the accepted orders lacked (docs/adr/022).
//
// The danger of a second reader on a connection is that it and net/http disagree about where a request begins: what one
// of them takes for a body is a request to the other, and behind a proxy the answers of two users change places. So it
// only looks at requests that it can delimit without doubt: a whole request that arrived in one read, after an answer,
// on a connection on which all earlier requests were of this kind. After anything else the connection is left to
// net/http for good. While net/http handles a request, it reads one byte ahead, to notice that the client hangs up; the
// request to which this byte belongs is its own.
//
// While the server has many connections, those that are refused are closed, and the memory is left to those that are
// served.
//
// The goroutine of the connection calls Read, or one that it waits for, and idle; so the fields need no lock.
type refusingConn struct {
	*net.TCPConn
	l       *boundedListener
	first   bool // nothing was read yet
	atStart bool // net/http has no part of the next request but, if ahead, its first byte
	ahead   bool
	opaque  bool // it is not known where a request begins
}

// idle is called when net/http has sent an answer and wants the next request.
func (c *refusingConn) idle() { c.atStart = true }

// Read implements net.Conn. It returns what net/http has to handle.
func (c *refusingConn) Read(p []byte) (int, error) {
	for {
		n, err := c.TCPConn.Read(p)
		if n == 0 || c.opaque {
			return n, err
		}
		if len(p) == 1 && !c.first && !c.atStart && !c.ahead {
			c.ahead = true
			return n, err
		}
		closing := c.l.crowded()
		line, id, mine := c.classify(p[:n], closing)
		if !mine || err != nil || c.l.draining.Load() {
			return n, err
		}
		answer := c.l.early(line, id, closing)
		if answer == nil {
			return n, nil
		}
		if err := c.answer(answer); err != nil {
			return 0, err
		}
		if closing {
			return 0, io.EOF // net/http closes a connection that has ended between two requests
		}
		c.atStart = true
	}
}

// classify notes what was read and reports whether it is a request that may be refused here.
func (c *refusingConn) classify(p []byte, closing bool) (line, id []byte, mine bool) {
	line, id, whole := parseWhole(p) // without its first byte a request is as long
	// net/http measures a connection's first request from its beginning, so that one cannot wait for a second request.
	mine = whole && (c.atStart && !c.ahead || c.first && closing)
	c.opaque = !whole || !c.first && !c.atStart
	c.first, c.atStart, c.ahead = false, false, false
	return line, id, mine
}

// answer sends the answer and renews the deadlines that net/http sets after one of its own answers.
func (c *refusingConn) answer(b []byte) error {
	now := time.Now()
	if err := c.SetWriteDeadline(now.Add(refuseTime)); err != nil {
		return err
	}
	if _, err := c.Write(b); err != nil {
		return err
	}
	return c.SetReadDeadline(now.Add(idleTimeout))
}

// parseWhole returns the request line and X-Request-Id of p if p is exactly one request of HTTP/1.1 with a body of
// known length, which keeps its connection open. Whatever is unusual is not whole.
func parseWhole(p []byte) (line, id []byte, ok bool) {
	head, body, found := bytes.Cut(p, []byte("\r\n\r\n"))
	if !found {
		return nil, nil, false
	}
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasSuffix(line, []byte(" HTTP/1.1")) || !plain(line) {
		return nil, nil, false
	}
	hosts, length := 0, -1
	for len(fields) > 0 {
		var field []byte
		field, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, found := bytes.Cut(field, []byte(":"))
		if !found || !isToken(name) || !plain(value) {
			return nil, nil, false
		}
		value = bytes.Trim(value, " \t")
		switch {
		case is(name, "host"):
			hosts++
		case is(name, "content-length"):
			n, err := strconv.ParseUint(string(value), 10, 31)
			if err != nil || length >= 0 {
				return nil, nil, false
			}
			length = int(n)
		case is(name, "connection"):
			if !is(value, "keep-alive") {
				return nil, nil, false
			}
		case is(name, "transfer-encoding"), is(name, "expect"), is(name, "upgrade"), is(name, "trailer"):
			return nil, nil, false
		case is(name, "x-request-id") && id == nil:
			id = value
		}
	}
	return line, id, hosts == 1 && len(body) == max(0, length)
}

// is compares without regard to case. name is in lower case.
func is(b []byte, name string) bool { return len(b) == len(name) && bytes.EqualFold(b, []byte(name)) }

// plain reports whether b has no control characters but tabs: a bare line feed is the end of a line to some readers.
func plain(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// isToken reports whether b is a field name. A name with a space before its colon, or a folded line, is not.
func isToken(b []byte) bool {
	for _, c := range b {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return len(b) > 0
}
