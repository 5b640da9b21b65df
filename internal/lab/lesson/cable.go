package lesson

import (
	"context"
	"net"
	"strings"
	"sync"
)

// cable is the network between a service and a server: a TCP proxy that the lesson can stop or cut. Only the clients
// that use its address are affected, and the server is back at once.
type cable struct {
	addr, target string

	mu       sync.Mutex
	listener net.Listener // nil while it is cut
	conns    map[net.Conn]struct{}
	stop     direction     // of the data to hold; none: nothing
	call     string        // how the call to hold begins
	caught   func() error  // called when it is held
	failed   error         // of caught
	pass     chan struct{} // closed when held data may continue
	held     bool
	reply    string // to a late call

	running sync.WaitGroup
}

// direction is one half of a connection.
type direction int

const (
	none    direction = iota
	calls             // from the client to the server
	answers           // from the server to the client
)

// cable returns a proxy to target (host:port) that lives as long as the scene or the lesson.
func (e *Env) cable(ctx context.Context, target string) (*cable, error) {
	c := &cable{addr: "127.0.0.1:0", target: target, conns: map[net.Conn]struct{}{}, pass: make(chan struct{})}
	if err := c.Mend(ctx); err != nil {
		return nil, err
	}
	e.Clean(func(context.Context) error {
		c.Cut()
		c.Pass()
		c.running.Wait()
		return nil
	})
	return c, nil
}

// Hold stops the next call that begins with the text, or its answer, on one connection. The data has left its sender,
// and caught is called. Other connections are not affected.
func (c *cable) Hold(d direction, call string, caught func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release() // what an earlier scene has held
	c.stop, c.call, c.caught, c.failed = d, call, caught, nil
	c.pass = make(chan struct{})
}

// Caught returns the error of the function that was passed to Hold.
func (c *cable) Caught() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// Held reports whether data is held.
func (c *cable) Held() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// Pass lets what is held continue. A call is delivered late, on a new connection, and its sender gets no answer: it may
// have died meanwhile.
func (c *cable) Pass() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release()
}

// release is Pass, under the mutex.
func (c *cable) release() {
	c.stop, c.held, c.reply = none, false, ""
	select {
	case <-c.pass:
	default:
		close(c.pass)
	}
}

// Replied reports whether the reply to the late call contains the text.
func (c *cable) Replied(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Contains(c.reply, text)
}

// Mend accepts connections, also again after Cut, at the same address.
func (c *cable) Mend(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listener != nil {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", c.addr)
	if err != nil {
		return err
	}
	c.listener, c.addr = l, l.Addr().String()
	c.running.Go(func() { c.accept(l) }) //nolint:contextcheck // its connections end with Cut
	return nil
}

// Cut closes all connections and refuses new ones.
func (c *cable) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listener == nil {
		return
	}
	_ = c.listener.Close()
	c.listener = nil
	for conn := range c.conns {
		_ = conn.Close()
	}
}

func (c *cable) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return // cut
		}
		c.running.Go(func() { c.serve(client) })
	}
}

// serve forwards a connection until one side or the cable closes it.
func (c *cable) serve(client net.Conn) {
	defer client.Close() //nolint:errcheck // may already be closed
	var dialer net.Dialer
	server, err := dialer.DialContext(context.Background(), "tcp", c.target)
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // may already be closed
	if !c.track(client, server) {
		return
	}
	defer c.forget(client, server)
	var last string // call on this connection, under the mutex
	var pipes sync.WaitGroup
	pipes.Go(func() {
		c.pipe(client, server, calls, &last)
		_ = server.Close()
	})
	pipes.Go(func() {
		c.pipe(server, client, answers, &last)
		_ = client.Close()
	})
	pipes.Wait()
}

// pipe forwards data until one side is closed.
func (c *cable) pipe(from, to net.Conn, d direction, last *string) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if held := c.hold(d, buffer[:n], last); held && d == calls {
				c.deliver(buffer[:n])
				return
			}
			if _, writeErr := to.Write(buffer[:n]); writeErr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// deliver sends a late call, and keeps the reply for Replied.
func (c *cable) deliver(call []byte) {
	var dialer net.Dialer
	server, err := dialer.DialContext(context.Background(), "tcp", c.target)
	if err != nil || !c.track(server) {
		return
	}
	defer c.forget(server)
	defer server.Close() //nolint:errcheck // may already be closed
	if _, err := server.Write(call); err != nil {
		return
	}
	reply := make([]byte, 32<<10)
	if n, err := server.Read(reply); err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.reply = string(reply[:n])
	}
}

// hold waits if the data is what Hold is for.
func (c *cable) hold(d direction, data []byte, last *string) bool {
	c.mu.Lock()
	if d == calls {
		*last = string(data)
	}
	if c.stop != d || !strings.HasPrefix(*last, c.call) {
		c.mu.Unlock()
		return false
	}
	c.stop = none
	caught, pass := c.caught, c.pass
	c.mu.Unlock()
	err := caught()
	c.mu.Lock()
	c.held, c.failed = true, err
	c.mu.Unlock()
	<-pass
	return true
}

// track returns false if the cable was cut meanwhile.
func (c *cable) track(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listener == nil {
		return false
	}
	for _, conn := range conns {
		c.conns[conn] = struct{}{}
	}
	return true
}

func (c *cable) forget(conns ...net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		delete(c.conns, conn)
	}
}
