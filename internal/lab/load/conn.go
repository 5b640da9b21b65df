package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
	n        int64
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
	c := &Conn{dial: func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", t.Addr) }, host: t.Addr}
	prefix := fmt.Sprintf("%s-%s-%d-", t.Name, run, i)
	for n := range t.Baskets {
		body := t.Baskets[(i+n)%len(t.Baskets)]
		head := fmt.Sprintf("POST /v1/orders HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n",
			t.Addr, t.Tokens[i%len(t.Tokens)], len(body))
		if t.Strategy != "" {
			head += "X-Stock-Strategy: " + t.Strategy + "\r\n"
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

// Order sends one order with a new key and returns the status of the answer. An error closes the connection.
func (c *Conn) Order(ctx context.Context) (status int, err error) {
	if err := c.connect(ctx); err != nil {
		return 0, err
	}
	c.n++
	digits := strconv.AppendInt(make([]byte, 0, keyDigits), c.n, 10)
	r := c.requests[int(c.n)%len(c.requests)]
	copy(r.bytes[r.key+keyDigits-len(digits):], digits)
	status, closing, err := c.exchange(r.bytes)
	if err != nil || closing {
		c.Close()
	}
	return status, err
}

// warmUp opens the connection and requests a page that does not exist.
func (c *Conn) warmUp(ctx context.Context) {
	if err := c.connect(ctx); err != nil {
		return
	}
	if _, closing, err := c.exchange([]byte("GET /v1 HTTP/1.1\r\nHost: " + c.host + "\r\n\r\n")); err != nil || closing {
		c.Close()
	}
}

func (c *Conn) exchange(request []byte) (status int, closing bool, err error) {
	if err := c.c.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, true, err
	}
	if _, err := c.c.Write(request); err != nil {
		return 0, true, err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, true, err
	}
	if len(line) < 12 {
		return 0, true, errMalformed
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, true, errMalformed
	}
	length := -1
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, true, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, true, errMalformed
			}
		case bytes.EqualFold(name, []byte("Connection")):
			closing = bytes.EqualFold(value, []byte("close"))
		}
	}
	if length < 0 {
		return 0, true, errMalformed // the gateway's answers have a Content-Length
	}
	_, err = io.CopyN(io.Discard, c.r, int64(length))
	return status, closing, err
}

var errMalformed = errors.New("read answer: not an answer of the gateway")

// Close closes the connection. The next order opens it again.
func (c *Conn) Close() {
	if c.c != nil {
		_ = c.c.Close()
		c.c = nil
	}
}
