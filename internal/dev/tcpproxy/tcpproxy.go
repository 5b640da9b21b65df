// Package tcpproxy is a TCP proxy that fails on demand, for tests of what happens when a server cannot be reached, is slow
// to be reached, or answers too late: unlike a stopped server it comes back at the same address at once, with its data, and
// only for the client under test.
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

// Proxy forwards connections to a target until it is told to fail.
type Proxy struct {
	tb   testing.TB
	addr string
	wg   sync.WaitGroup

	mu       sync.Mutex
	target   string
	listener net.Listener // nil while cut
	links    map[*link]struct{}
	held     Direction
	pass     chan struct{} // closed when nothing is held any more; made by Hold
	lose     bool          // break the connection instead of passing the next reply on
	refused  chan struct{} // refuse the connection after the lost reply and close this; nil: serve it

	stopped atomic.Int64 // pieces of data that a Hold has stopped
}

// link is one connection through the proxy.
type link struct {
	client, server net.Conn
	dead           bool // half-open: nothing passes, and the client is not told
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

// Addr is where clients connect. It stays the same.
func (p *Proxy) Addr() string { return p.addr }

// Cut closes all connections and has new ones refused, as those to a server that is down.
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

// Restore lets connections through again.
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

// Reset breaks the connections that stand, with a RST to both sides, and returns how many. New ones pass.
func (p *Proxy) Reset() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
	return len(p.links)
}

// HalfOpen makes the connections that stand worthless without telling the client, as a router does that has forgotten
// them: the server's end is closed, the client's end takes everything and answers nothing. It returns how many. New
// ones pass.
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

// Retarget sends new connections to another server and breaks those that stand: a failover.
func (p *Proxy) Retarget(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.Reset()
}

// Hold stops what goes in the direction until [Proxy.Pass] and keeps it: nothing is lost, as in a partition, after which
// TCP sends again what was not acknowledged. Connections are accepted, and their data is held too.
func (p *Proxy) Hold(d Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held |= d
	if p.pass == nil {
		p.pass = make(chan struct{})
	}
}

// Pass lets through what was held, and everything after it.
func (p *Proxy) Pass() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = 0
	if p.pass != nil {
		close(p.pass)
		p.pass = nil
	}
}

// Stopped returns how many pieces of data a Hold has stopped so far: a fault that stopped nothing did not happen.
func (p *Proxy) Stopped() int64 { return p.stopped.Load() }

// LoseReply breaks the connection instead of passing the next reply on. What comes after on a new connection passes.
func (p *Proxy) LoseReply() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = true
}

// LoseReplyAndNext does the same and refuses the next connection too. The channel is closed when both have happened.
func (p *Proxy) LoseReplyAndNext() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose, p.refused = true, make(chan struct{})
	return p.refused
}
