package dbtest

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// Proxy stands between the driver and the server, understands just enough to see a COMMIT pass, and fails then.
type Proxy struct {
	DSN    string // the server's, by way of the proxy
	target string
	tb     testing.TB
	l      net.Listener
	wg     sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	refusing bool
	patience int    // refusing ends after so many refused connections; 0: it does not
	from, to string // rewritten on the way to the server; of equal length
	onCommit CommitFault
	after    func()        // called when a COMMIT has failed
	held     chan struct{} // closed by Release: a held COMMIT goes on
}

// CommitFault is what happens to the next COMMIT.
type CommitFault int

// The faults.
const (
	Pass       CommitFault = iota // nothing
	LoseCommit                    // the connection breaks before the server sees it
	LoseAnswer                    // the server commits; its answer is lost
	LoseAll                       // as LoseAnswer, and no new connection is let through
	HoldCommit                    // the client's side breaks; the server gets the COMMIT when Release is called
)

// NewProxy starts a proxy to the server of a DSN that lives until the test ends.
func NewProxy(tb testing.TB, dsn string) *Proxy {
	tb.Helper()
	_, rest, _ := strings.Cut(dsn, "tcp(")
	target, _, _ := strings.Cut(rest, ")")
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // returns at once
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{
		DSN: strings.Replace(dsn, target, l.Addr().String(), 1), target: target, tb: tb, l: l,
		conns: map[net.Conn]struct{}{}, held: make(chan struct{}),
	}
	p.wg.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.Release()
		p.Cut()
		p.wg.Wait()
	})
	return p
}

// Rewrite replaces text on its way to the server by other text of equal length.
func (p *Proxy) Rewrite(from, to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.from, p.to = from, to
}

// Fail sets what happens to the next COMMIT.
func (p *Proxy) Fail(how CommitFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onCommit = how
}

// RefuseFor makes a refusal end by itself after n connections.
func (p *Proxy) RefuseFor(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.patience = n
}

// Then sets what is called when a COMMIT fails, before the client sees it.
func (p *Proxy) Then(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = f
}

// Release lets a held COMMIT go on.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.held:
	default:
		close(p.held)
	}
}

// Cut breaks all connections and refuses new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = true
	for c := range p.conns {
		_ = c.Close()
	}
}

// Restore lets new connections through again.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = false
}

func (p *Proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return // closed
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", p.target) //nolint:noctx // to loopback, which answers or refuses
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
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
func (p *Proxy) requests(client, server net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		how := Pass
		if bytes.Equal(buf[:n], []byte("\x07\x00\x00\x00\x03COMMIT")) {
			how, p.onCommit = p.onCommit, Pass
		}
		out := buf[:n]
		if p.from != "" {
			out = bytes.ReplaceAll(out, []byte(p.from), []byte(p.to))
		}
		after := p.after
		p.mu.Unlock()
		if how != Pass && after != nil {
			after()
		}
		if how != Pass {
			p.failCommit(how, client, server, out)
			return
		}
		if _, err := server.Write(out); err != nil {
			return
		}
	}
}

func (p *Proxy) failCommit(how CommitFault, client, server net.Conn, commit []byte) {
	switch how {
	case LoseAll:
		p.mu.Lock()
		p.refusing = true
		p.mu.Unlock()
	case HoldCommit:
		_ = client.Close()
		<-p.held
	}
	_ = client.Close() // the answer has nowhere to go
	if how == LoseCommit {
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
func (p *Proxy) drain(server net.Conn) {
	buf := make([]byte, 1024)
	for {
		if _, err := server.Read(buf); err != nil {
			return
		}
	}
}
