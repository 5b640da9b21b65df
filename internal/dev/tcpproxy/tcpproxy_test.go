package tcpproxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/dev/tcpproxy"
	"holdfast/internal/dev/testkit"
)

const waitLimit = 10 * time.Second

// echo is a server that returns each line, prefixed by its name, and counts the lines.
type echo struct {
	addr string

	mu   sync.Mutex
	seen int
}

func newEcho(t *testing.T, name string) *echo {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{addr: l.Addr().String()}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					e.mu.Lock()
					e.seen++
					e.mu.Unlock()
					fmt.Fprintln(c, name+lines.Text())
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	return e
}

func (e *echo) lines() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen
}

// client is a connection to the proxy.
type client struct{ net.Conn }

func dial(t *testing.T, p *tcpproxy.Proxy) (client, error) {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		return client{}, err
	}
	t.Cleanup(func() { _ = c.Close() })
	return client{c}, nil
}

func (c client) say(line string) { fmt.Fprintln(c, line) }

// hears reads one line and waits at most for the given time.
func (c client) hears(while time.Duration) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(while))
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

func (c client) wantAnswer(t *testing.T, want string) {
	t.Helper()
	if got, err := c.hears(waitLimit); got != want+"\n" {
		t.Errorf("heard %q (%v), want %q", got, err, want)
	}
}

// wantSilence has to wait a fixed time: the absence of data cannot be awaited.
func (c client) wantSilence(t *testing.T) {
	t.Helper()
	if got, err := c.hears(50 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("heard %q (%v), want nothing", got, err)
	}
}

// connected returns a client that has received an answer through the proxy.
func connected(t *testing.T, p *tcpproxy.Proxy, server string) client {
	t.Helper()
	c, err := dial(t, p)
	if err != nil {
		t.Fatal(err)
	}
	c.say("hello")
	c.wantAnswer(t, server+"hello")
	return c
}

func TestProxy_Cut(t *testing.T) {
	t.Parallel()
	p := tcpproxy.New(t, newEcho(t, "").addr)
	c := connected(t, p, "")
	p.Cut()
	if _, err := c.hears(waitLimit); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the open connection survived the cut: %v", err)
	}
	if _, err := dial(t, p); err == nil {
		t.Error("a new connection went through the cut")
	}
	p.Restore()
	connected(t, p, "")
}

func TestProxy_Hold(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]tcpproxy.Direction{
		"commands": tcpproxy.Commands, "replies": tcpproxy.Replies, "both": tcpproxy.Both,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEcho(t, "")
			p := tcpproxy.New(t, e.addr)
			c := connected(t, p, "")
			p.Hold(d)
			c.say("late")
			testkit.EventuallyTrue(t, waitLimit, "the hold has stopped something", func() bool { return p.Stopped() == 1 })
			c.wantSilence(t)
			if arrived := e.lines() == 2; arrived != (d == tcpproxy.Replies) {
				t.Errorf("the command arrived: %v", arrived)
			}
			p.Pass()
			c.wantAnswer(t, "late")
		})
	}
}

func TestProxy_Reset(t *testing.T) {
	t.Parallel()
	p := tcpproxy.New(t, newEcho(t, "").addr)
	c := connected(t, p, "")
	if n := p.Reset(); n != 1 {
		t.Errorf("%d connections broken, want 1", n)
	}
	if _, err := c.hears(waitLimit); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v, want a reset", err)
	}
	connected(t, p, "")
}

func TestProxy_HalfOpen(t *testing.T) {
	t.Parallel()
	e := newEcho(t, "")
	p := tcpproxy.New(t, e.addr)
	c := connected(t, p, "")
	if n := p.HalfOpen(); n != 1 {
		t.Errorf("%d connections half-open, want 1", n)
	}
	c.say("hello?")
	c.wantSilence(t)
	connected(t, p, "")
	if e.lines() != 2 {
		t.Errorf("the server got %d lines, want those of the two good connections", e.lines())
	}
}

func TestProxy_Retarget(t *testing.T) {
	t.Parallel()
	p := tcpproxy.New(t, newEcho(t, "one ").addr)
	c := connected(t, p, "one ")
	p.Retarget(newEcho(t, "two ").addr)
	if _, err := c.hears(waitLimit); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the old connection lives: %v", err)
	}
	connected(t, p, "two ")
}

func TestProxy_LoseReply(t *testing.T) {
	t.Parallel()

	t.Run("one", func(t *testing.T) {
		t.Parallel()
		e := newEcho(t, "")
		p := tcpproxy.New(t, e.addr)
		c := connected(t, p, "")
		p.LoseReply()
		c.say("lost")
		if got, err := c.hears(waitLimit); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("heard %q (%v), want the end", got, err)
		}
		if e.lines() != 2 {
			t.Error("the command was lost, not the reply")
		}
		connected(t, p, "")
	})

	t.Run("and the next connection", func(t *testing.T) {
		t.Parallel()
		p := tcpproxy.New(t, newEcho(t, "").addr)
		c := connected(t, p, "")
		both := p.LoseReplyAndNext()
		c.say("lost")
		_, _ = c.hears(waitLimit)
		next, err := dial(t, p)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := next.hears(waitLimit); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the next connection heard %q (%v), want the end", got, err)
		}
		<-both
		connected(t, p, "")
	})
}
