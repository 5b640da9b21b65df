package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"
)

// patience is the timeout of an answer. It is longer than the gateway's REQUEST_TIMEOUT, so the gateway's answer
// arrives.
const patience = 8 * time.Second

// Conn is one keep-alive connection of a buyer.
type Conn struct {
	dial     func(ctx context.Context) (net.Conn, error)
	c        net.Conn
	r        *bufio.Reader
	requests []request
	host     string
	token    string
	follow   bool
	n        int64
	answer   answer // the last one
}

// answer is what is read of an answer. Its slices are reused.
type answer struct {
	status   int
	closing  bool // the server closes the connection
	location []byte
	body     []byte
}

// request is a request whose idempotency key is written anew for each order.
type request struct {
	bytes []byte
	key   int // offset of the key's counter
}

// keyDigits is the width of the counter in an idempotency key.
const keyDigits = 12

// NewConn prepares connection i of the load named run, which no other load on the target has. The connection is opened
// at its first use. It sends the target's baskets in turn and begins with the i-th.
func NewConn(t Target, run string, i int) *Conn {
	var dialer net.Dialer
	c := &Conn{dial: func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", t.Addr) }, host: t.Addr, follow: t.Follow}
	c.token = t.Tokens[i%len(t.Tokens)]
	prefix := fmt.Sprintf("%s-%s-%d-", t.Name, run, i)
	for n := range t.Baskets {
		body := t.Baskets[(i+n)%len(t.Baskets)]
		head := fmt.Sprintf("POST /v1/orders HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n",
			t.Addr, c.token, len(body))
		if t.Strategy != "" {
			head += "X-Stock-Strategy: " + t.Strategy + "\r\n"
		}
		if t.Flow != "" {
			head += "X-Order-Flow: " + t.Flow + "\r\n"
		}
		head += "Idempotency-Key: " + prefix
		c.requests = append(c.requests, request{[]byte(head + fmt.Sprintf("%0*d", keyDigits, 0) + "\r\n\r\n" + body), len(head)})
	}
	return c
}

// connect opens the connection if it is closed.
func (c *Conn) connect(ctx context.Context) error {
	if c.c != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var err error
	if c.c, err = c.dial(ctx); err != nil {
		c.c = nil
		return err
	}
	if c.r == nil {
		c.r = bufio.NewReaderSize(c.c, 1<<10)
	}
	c.r.Reset(c.c)
	return nil
}

// Order sends one order with a new key and returns the status of the answer. If the target says so, an order that is
// answered 202 is followed: Order returns 201 when it is PLACED, 409 when it has ended otherwise, and 202 when it is
// undecided for as long as an answer may take. An error closes the connection.
func (c *Conn) Order(ctx context.Context) (status int, err error) {
	if err := c.connect(ctx); err != nil {
		return 0, err
	}
	c.n++
	digits := strconv.AppendInt(make([]byte, 0, keyDigits), c.n, 10)
	r := c.requests[int(c.n)%len(c.requests)]
	copy(r.bytes[r.key+keyDigits-len(digits):], digits)
	err = c.exchange(r.bytes)
	if err == nil && c.answer.status == statusPending && c.follow {
		err = c.decided(time.Now().Add(patience))
	}
	if err != nil || c.answer.closing {
		c.Close()
	}
	return c.answer.status, err
}

const (
	statusPlaced  = 201
	statusPending = 202
	statusEnded   = 409
)

// decided reads the order at the answer's Location, where the shop waits for the decision, until it is decided or the
// deadline has passed, and puts the status of its outcome into the answer.
func (c *Conn) decided(deadline time.Time) error {
	if len(c.answer.location) == 0 {
		return errMalformed
	}
	read := fmt.Appendf(nil, "GET %s?wait=2s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", c.answer.location, c.host, c.token)
	for time.Now().Before(deadline) && !c.answer.closing {
		if err := c.exchange(read); err != nil {
			return err
		}
		switch {
		case c.answer.status != 200: // overloaded or unavailable: the order's fate is unknown to the buyer
			return nil
		case bytes.Contains(c.answer.body, []byte(`"status":"PLACED"`)):
			c.answer.status = statusPlaced
			return nil
		case !bytes.Contains(c.answer.body, []byte(`"status":"PENDING"`)):
			c.answer.status = statusEnded
			return nil
		}
	}
	c.answer.status = statusPending
	return nil
}

// warmUp opens the connection and requests a page that does not exist.
func (c *Conn) warmUp(ctx context.Context) {
	if err := c.connect(ctx); err != nil {
		return
	}
	if err := c.exchange([]byte("GET /v1 HTTP/1.1\r\nHost: " + c.host + "\r\n\r\n")); err != nil || c.answer.closing {
		c.Close()
	}
}

// exchange sends a request and reads its answer.
func (c *Conn) exchange(request []byte) error {
	a := &c.answer
	a.status, a.closing, a.location = 0, false, a.location[:0]
	if err := c.c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.c.Write(request); err != nil {
		return err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) < 12 {
		return errMalformed
	}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return errMalformed
	}
	length, err := c.header()
	if err != nil {
		return err
	}
	if length < 0 || length > mostBody {
		return errMalformed // the gateway's answers have a Content-Length
	}
	a.body = slices.Grow(a.body[:0], length)[:length]
	_, err = io.ReadFull(c.r, a.body)
	return err
}

// header reads the header's lines into the answer and returns the body's length, -1 if it is not given.
func (c *Conn) header() (length int, err error) {
	length = -1
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return length, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, errMalformed
			}
		case bytes.EqualFold(name, []byte("Connection")):
			c.answer.closing = bytes.EqualFold(value, []byte("close"))
		case bytes.EqualFold(name, []byte("Location")):
			c.answer.location = append(c.answer.location[:0], value...)
		}
	}
}

// mostBody is more than an answer about one order has, in bytes.
const mostBody = 1 << 20

var errMalformed = errors.New("read answer: not an answer of the gateway")

// Close closes the connection. The next order opens it again.
func (c *Conn) Close() {
	if c.c != nil {
		_ = c.c.Close()
		c.c = nil
	}
}
