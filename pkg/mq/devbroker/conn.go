package devbroker

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	writeTimeout = 10 * time.Second // a client that does not read for so long is cut off
	outbox       = 256              // frames that wait to be written
)

// conn is one connection. Frames go out through one goroutine, so that a client that reads slowly delays no other
// client.
type conn struct {
	net  net.Conn
	out  chan frame
	done chan struct{} // closed with the connection
	once sync.Once
	held *sync.WaitGroup // for the pulls that are held open

	// What its heartbeats said; guarded by Broker.mu.
	client    string
	producers []string
	consumers []string
}

func newConn(c net.Conn, held *sync.WaitGroup) *conn {
	return &conn{net: c, held: held, out: make(chan frame, outbox), done: make(chan struct{})}
}

// close ends the connection; its goroutines end soon after.
func (c *conn) close() {
	c.once.Do(func() {
		close(c.done)
		_ = c.net.Close()
	})
}

// answer sends an answer. It waits while the outbox is full, which stops the reading of further requests.
func (c *conn) answer(f frame) {
	select {
	case c.out <- f:
	case <-c.done:
	}
}

// notify sends a request of ours, or drops it when the client does not read: each is repeated sooner or later.
func (c *conn) notify(f frame) {
	select {
	case c.out <- f:
	default:
	}
}

// write sends what is in the outbox until the connection ends.
func (c *conn) write() {
	defer c.close()
	w := bufio.NewWriterSize(c.net, 64<<10)
	for {
		select {
		case <-c.done:
			return
		case f := <-c.out:
			if c.net.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil || f.writeTo(w) != nil {
				return
			}
			if len(c.out) == 0 && w.Flush() != nil {
				return
			}
		}
	}
}

// read handles what comes until the connection ends or sends nonsense.
func (b *Broker) read(c *conn) {
	defer b.forget(c)
	defer c.close()
	r := bufio.NewReaderSize(c.net, 64<<10)
	for {
		f, err := readFrame(r)
		if err != nil {
			if errors.Is(err, errFrame) && !errors.Is(err, io.ErrUnexpectedEOF) {
				b.log.Warn("connection closed", "peer", c.net.RemoteAddr().String(), "err", err)
			}
			return
		}
		if f.Flag&flagAnswer == 0 { // answers to our own requests tell us nothing
			b.serve(c, f)
		}
	}
}

// local is the address at which the client reached us, the one address that surely works for it.
func (c *conn) local() string { return c.net.LocalAddr().String() }
