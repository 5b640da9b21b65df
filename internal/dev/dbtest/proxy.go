package dbtest

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// Proxy forwards connections between the driver and the server. It recognises a COMMIT and can make it fail.
type Proxy struct {
	DSN    string // the server's DSN with the proxy's address
	target string
	tb     testing.TB
	l      net.Listener
	wg     sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	refusing bool
	refuseN  int    // accept connections again after this many refusals; 0: refuse until Restore
	from, to string // text replaced on the way to the server; of equal length
	onCommit CommitFault
	after    func()        // called when a COMMIT fails
	held     chan struct{} // closed by Release, which forwards a held COMMIT
}

// CommitFault is what happens to the next COMMIT.
type CommitFault int

// The faults.
const (
	Pass       CommitFault = iota // nothing
	LoseCommit                    // the connection breaks before the server receives the COMMIT
	LoseAnswer                    // the server commits; its answer is lost
	LoseAll                       // as LoseAnswer, and new connections are refused
	HoldCommit                    // the client's connection breaks; Release forwards the COMMIT to the server
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

// RefuseFor makes the proxy accept connections again after n refused ones.
func (p *Proxy) RefuseFor(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuseN = n
}

// Then sets a function that is called when a COMMIT fails, before the client notices.
func (p *Proxy) Then(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = f
}

// Release forwards a held COMMIT.
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

// Restore makes the proxy accept new connections again.
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
	if refusing && p.refuseN > 0 {
		p.refuseN--
		p.refusing = p.refuseN > 0
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

// requests forwards the client's packets. The driver writes a short statement in one piece.
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
	_ = client.Close() // the client must not receive the answer
	if how == LoseCommit {
		return
	}
	if _, err := server.Write(commit); err != nil {
		p.tb.Errorf("forward COMMIT: %v", err)
	}
	// Closing now could overtake the COMMIT. The server answers QUIT by closing, after it has processed the COMMIT.
	if _, err := server.Write([]byte("\x01\x00\x00\x00\x01")); err != nil {
		p.tb.Errorf("forward QUIT: %v", err)
	}
	p.drain(server)
}

// drain waits until the server has closed the connection. Then the goroutine that copies answers ends.
func (p *Proxy) drain(server net.Conn) {
	buf := make([]byte, 1024)
	for {
		if _, err := server.Read(buf); err != nil {
			return
		}
	}
}
