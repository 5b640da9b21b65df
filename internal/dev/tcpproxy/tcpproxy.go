// Package tcpproxy is a TCP proxy that fails on demand. It is for tests of servers that are unreachable, slow or
// answer too late. Unlike a stopped server, the proxy is back at the same address at once, with the server's data, and
// only the client under test is affected.
package tcpproxy

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Direction is one half of a connection, or both.
type Direction int

// The directions.
const (
	Commands Direction = 1 << iota // from the client to the server
	Replies                        // from the server to the client
	Both     = Commands | Replies
)

// Proxy forwards connections to a target and fails on demand.
type Proxy struct {
	tb   testing.TB
	addr string
	wg   sync.WaitGroup

	mu       sync.Mutex
	target   string
	listener net.Listener // nil while cut
	links    map[*link]struct{}
	held     Direction
	pass     chan struct{} // made by Hold, closed by Pass
	lose     bool          // break the connection instead of forwarding the next reply
	refused  chan struct{} // refuse the connection after the lost reply and close this channel; nil: accept it

	stopped atomic.Int64 // pieces of data that Hold has stopped
}

// link is one connection through the proxy.
type link struct {
	client, server net.Conn
	dead           bool // half-open: no data passes, and the client is not notified
}

// New starts a proxy to target (host:port) that lives until the test ends.
func New(tb testing.TB, target string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{tb: tb, target: target, addr: l.Addr().String(), listener: l, links: map[*link]struct{}{}}
	p.wg.Go(func() { p.accept(l) })
	tb.Cleanup(func() {
		p.Cut()
		p.Pass()
		p.wg.Wait()
	})
	return p
}

// Addr returns the address for clients. It never changes.
func (p *Proxy) Addr() string { return p.addr }

// Cut closes all connections and refuses new ones, like a server that is down.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return
	}
	_ = p.listener.Close()
	p.listener = nil
	for l := range p.links {
		l.close()
	}
}

// Restore accepts connections again after [Proxy.Cut].
func (p *Proxy) Restore() {
	p.tb.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.tb.Fatal(err)
	}
	p.listener = l
	p.wg.Go(func() { p.accept(l) })
}

// Reset breaks all open connections with a RST to both sides and returns their number. New connections pass.
func (p *Proxy) Reset() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
	return len(p.links)
}

// HalfOpen makes all open connections half-open without notifying the clients, like a router that lost its connection
// table: the server's end is closed; the client's end accepts all data and sends nothing. It returns the number of
// connections. New connections pass.
func (p *Proxy) HalfOpen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for l := range p.links {
		if l.dead {
			continue
		}
		l.dead = true
		_ = l.server.Close()
		n++
	}
	return n
}

// Retarget sends new connections to another server and breaks the open ones, as a failover does.
func (p *Proxy) Retarget(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.Reset()
}

// Hold stops the data of a direction and keeps it until [Proxy.Pass]. No data is lost, as in a network partition,
// after which TCP retransmits. Connections are accepted, and their data is held too.
func (p *Proxy) Hold(d Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held |= d
	if p.pass == nil {
		p.pass = make(chan struct{})
	}
}

// Pass forwards the held data and ends the hold.
func (p *Proxy) Pass() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = 0
	if p.pass != nil {
		close(p.pass)
		p.pass = nil
	}
}

// Stopped returns how many pieces of data Hold has stopped. With 0 the fault had no effect.
func (p *Proxy) Stopped() int64 { return p.stopped.Load() }

// LoseReply breaks the connection instead of forwarding the next reply. New connections pass.
func (p *Proxy) LoseReply() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = true
}

// LoseReplyAndNext does the same and also refuses the next connection. The channel is closed after both have happened.
func (p *Proxy) LoseReplyAndNext() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose, p.refused = true, make(chan struct{})
	return p.refused
}
