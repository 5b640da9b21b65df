package database_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// proxy stands between the driver and the server, understands just enough to see a COMMIT pass, and fails then.
type proxy struct {
	dsn    string // the server's, by way of the proxy
	target string
	tb     testing.TB
	l      net.Listener
	wg     sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	refusing bool
	patience int    // refusing ends after so many refused connections; 0: it does not
	from, to string // rewritten on the way to the server; of equal length
	onCommit commitFault
	after    func()        // called when a COMMIT has failed
	held     chan struct{} // closed by release: a held COMMIT goes on
}

// commitFault is what happens to the next COMMIT.
type commitFault int

const (
	pass       commitFault = iota
	loseCommit             // the connection breaks before the server sees it
	loseAnswer             // the server commits; its answer is lost
	loseAll                // as loseAnswer, and no new connection is let through
	holdCommit             // the client's side breaks; the server gets the COMMIT when release is called
)

func newProxy(tb testing.TB, dsn string) *proxy {
	tb.Helper()
	_, rest, _ := strings.Cut(dsn, "tcp(")
	target, _, _ := strings.Cut(rest, ")")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{
		dsn: strings.Replace(dsn, target, l.Addr().String(), 1), target: target, tb: tb, l: l,
		conns: map[net.Conn]struct{}{}, held: make(chan struct{}),
	}
	p.wg.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.release()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) rewrite(from, to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.from, p.to = from, to
}

// fail sets what happens to the next COMMIT.
func (p *proxy) fail(how commitFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onCommit = how
}

// refuseFor makes a refusal end by itself after n connections.
func (p *proxy) refuseFor(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.patience = n
}

// then sets what is called when a COMMIT fails, before the client sees it.
func (p *proxy) then(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = f
}

func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.held:
	default:
		close(p.held)
	}
}

// cut breaks all connections and refuses new ones.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = true
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = false
}

func (p *proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return // closed
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	refusing := p.refusing
	if refusing && p.patience > 0 {
		p.patience--
		p.refusing = p.patience > 0
	}
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	p.mu.Unlock()
	if refusing {
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	p.requests(client, server)
	_ = server.Close()
	answers.Wait()
}

// requests forwards what the client says. The driver writes a short statement in one piece.
func (p *proxy) requests(client, server net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		how := pass
		if bytes.Equal(buf[:n], []byte("\x07\x00\x00\x00\x03COMMIT")) {
			how, p.onCommit = p.onCommit, pass
		}
		out := buf[:n]
		if p.from != "" {
			out = bytes.ReplaceAll(out, []byte(p.from), []byte(p.to))
		}
		after := p.after
		p.mu.Unlock()
		if how != pass && after != nil {
			after()
		}
		if how != pass {
			p.failCommit(how, client, server, out)
			return
		}
		if _, err := server.Write(out); err != nil {
			return
		}
	}
}

func (p *proxy) failCommit(how commitFault, client, server net.Conn, commit []byte) {
	switch how {
	case loseAll:
		p.mu.Lock()
		p.refusing = true
		p.mu.Unlock()
	case holdCommit:
		_ = client.Close()
		<-p.held
	}
	_ = client.Close() // the answer has nowhere to go
	if how == loseCommit {
		return
	}
	if _, err := server.Write(commit); err != nil {
		p.tb.Errorf("forward COMMIT: %v", err)
	}
	// Closing now could overtake the COMMIT. QUIT is answered by closing, after what was sent before it.
	if _, err := server.Write([]byte("\x01\x00\x00\x00\x01")); err != nil {
		p.tb.Errorf("forward QUIT: %v", err)
	}
	p.drain(server)
}

// drain waits until the server has closed: the goroutine that copies answers sees the end and closes.
func (p *proxy) drain(server net.Conn) {
	buf := make([]byte, 1024)
	for {
		if _, err := server.Read(buf); err != nil {
			return
		}
	}
}
