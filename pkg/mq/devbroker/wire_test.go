package devbroker_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"holdfast/pkg/mq/devbroker"
)

// client speaks the protocol by hand, so that these tests can run under the race detector, which the client library
// cannot. It is used by one goroutine.
type client struct {
	tb   testing.TB
	conn net.Conn
	in   *bufio.Reader
	last int
	push []answer // requests of the broker's own
}

type answer struct {
	Code   int               `json:"code"`
	Opaque int               `json:"opaque"`
	Flag   int               `json:"flag"`
	Remark string            `json:"remark"`
	Fields map[string]string `json:"extFields"`
	Body   []byte            `json:"-"`
}

type ext = map[string]string

func dial(tb testing.TB, b *devbroker.Broker) *client {
	tb.Helper()
	conn, err := net.Dial("tcp", b.Addr())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return &client{tb: tb, conn: conn, in: bufio.NewReader(conn)}
}

func encodeFrame(header string, body []byte) []byte {
	f := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(body)))
	f = binary.BigEndian.AppendUint32(f, uint32(len(header)))
	return append(append(f, header...), body...)
}

// post sends a request and does not wait.
func (c *client) post(code, flag int, fields ext, body []byte) int {
	c.tb.Helper()
	c.last++
	head, err := json.Marshal(map[string]any{
		"code": code, "language": "GO", "version": 317, "opaque": c.last, "flag": flag, "extFields": fields,
	})
	if err != nil {
		c.tb.Fatal(err)
	}
	if _, err := c.conn.Write(encodeFrame(string(head), body)); err != nil {
		c.tb.Fatal(err)
	}
	return c.last
}

// next reads a frame; false when none comes in time or the connection has ended.
func (c *client) next(patience time.Duration) (answer, bool) {
	c.tb.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	var prefix [8]byte
	if _, err := io.ReadFull(c.in, prefix[:]); err != nil {
		return answer{}, false
	}
	rest := make([]byte, binary.BigEndian.Uint32(prefix[:])-4)
	if _, err := io.ReadFull(c.in, rest); err != nil {
		return answer{}, false
	}
	n := binary.BigEndian.Uint32(prefix[4:])
	var a answer
	if err := json.Unmarshal(rest[:n], &a); err != nil {
		c.tb.Fatal(err)
	}
	a.Body = rest[n:]
	return a, true
}

// wait returns the answer to a request.
func (c *client) wait(opaque int) answer {
	c.tb.Helper()
	for {
		a, ok := c.next(10 * time.Second)
		if !ok {
			c.tb.Fatalf("no answer to request %d", opaque)
		}
		if a.Flag&1 == 0 {
			c.push = append(c.push, a)
			continue
		}
		if a.Opaque == opaque {
			return a
		}
	}
}

func (c *client) call(code int, fields ext, body []byte) answer {
	c.tb.Helper()
	return c.wait(c.post(code, 0, fields, body))
}

// must is call, for what must succeed.
func (c *client) must(code int, fields ext, body []byte) answer {
	c.tb.Helper()
	a := c.call(code, fields, body)
	if a.Code != 0 {
		c.tb.Fatalf("request %d %v: code %d %s", code, fields, a.Code, a.Remark)
	}
	return a
}

// pushed returns the broker's next request with this code.
func (c *client) pushed(code int) answer {
	c.tb.Helper()
	for {
		for i, a := range c.push {
			if a.Code == code {
				c.push = append(c.push[:i:i], c.push[i+1:]...)
				return a
			}
		}
		a, ok := c.next(10 * time.Second)
		if !ok {
			c.tb.Fatalf("the broker did not send request %d", code)
		}
		c.push = append(c.push, a)
	}
}

func (c *client) topic(name string, queues int) {
	c.tb.Helper()
	c.must(17, ext{"topic": name, "writeQueueNums": strconv.Itoa(queues), "readQueueNums": strconv.Itoa(queues)}, nil)
}

// send sends to queue 0.
func (c *client) send(topic, body, props string) answer {
	c.tb.Helper()
	return c.call(10, ext{"topic": topic, "queueId": "0", "producerGroup": "p", "properties": props}, []byte(body))
}

// pull asks for messages of queue 0, and waits up to hold for one.
func (c *client) pull(topic string, from int, hold time.Duration) (answer, []msg) {
	c.tb.Helper()
	a := c.call(11, ext{
		"consumerGroup": "g", "topic": topic, "queueId": "0", "queueOffset": strconv.Itoa(from), "maxMsgNums": "32",
		"sysFlag": "2", "suspendTimeoutMillis": strconv.FormatInt(hold.Milliseconds(), 10),
	}, nil)
	return a, decode(c.tb, a.Body)
}

// bodies returns what lies in queue 0 when n messages have come.
func (c *client) bodies(topic string, n int) []string {
	c.tb.Helper()
	var got []string
	for len(got) < n {
		a, messages := c.pull(topic, len(got), 5*time.Second)
		if len(messages) == 0 {
			c.tb.Fatalf("%d of %d messages came: %v (code %d %s)", len(got), n, got, a.Code, a.Remark)
		}
		for _, m := range messages {
			got = append(got, m.body)
		}
	}
	return got
}

// msg is what these tests look at of a message.
type msg struct {
	offset, pos       int64
	sysFlag, attempts int32
	topic, body       string
	props             string
}

func decode(tb testing.TB, b []byte) (list []msg) {
	tb.Helper()
	u32 := func(at int) int { return int(binary.BigEndian.Uint32(b[at:])) }
	for len(b) > 0 {
		size := u32(0)
		m := msg{
			offset: int64(binary.BigEndian.Uint64(b[20:])), pos: int64(binary.BigEndian.Uint64(b[28:])),
			sysFlag: int32(u32(36)), attempts: int32(u32(72)),
		}
		const fixed = 84 // up to the body's length: 4*5 + 8*2 + 4 + 8 + 8 + 8 + 8 + 4 + 8
		n := u32(fixed)
		at := fixed + 4
		m.body = string(b[at : at+n])
		at += n
		n = int(b[at])
		m.topic = string(b[at+1 : at+1+n])
		at += 1 + n
		n = int(binary.BigEndian.Uint16(b[at:]))
		m.props = string(b[at+2 : at+2+n])
		if at+2+n != size {
			tb.Fatalf("a message says that it has %d bytes and has %d", size, at+2+n)
		}
		list, b = append(list, m), b[size:]
	}
	return list
}
