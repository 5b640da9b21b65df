package e2e_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// commitProxy stands between the services and MySQL and fails one COMMIT: the next one of a transaction with a
// statement that contains a text.
type commitProxy struct {
	tb testing.TB

	mu     sync.Mutex
	text   []byte
	commit commitFault
	done   chan struct{} // closed when a COMMIT has been failed
}

// commitFault is what is done instead of passing a COMMIT on. No answer gets through to the service any more, and its
// connection is closed afterwards. send delivers the COMMIT; wait returns when the server has executed it, or is gone.
type commitFault func(send, wait func())

// onCommit arms the proxy for the next transaction with such a statement. done is closed when f has returned.
func (p *commitProxy) onCommit(text string, f commitFault) (done <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text, p.commit, p.done = []byte(text), f, make(chan struct{})
	return p.done
}

// concerns reports whether a transaction with this statement is the one that is waited for.
func (p *commitProxy) concerns(statement []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.commit != nil && bytes.Contains(statement, p.text)
}

// take disarms the proxy for the one whose COMMIT is failed; nil when another was first.
func (p *commitProxy) take() (f commitFault, done chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, p.commit = p.commit, nil
	return f, p.done
}

// via starts listening in front of a DSN's server; use it as setup.mysql.
func (p *commitProxy) via(dsn string) string {
	target := dsn[strings.Index(dsn, "tcp(")+4 : strings.Index(dsn, ")")]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.tb.Fatal(err)
	}
	var conns sync.WaitGroup
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			conns.Go(func() { p.serve(c, target) })
		}
	}()
	p.tb.Cleanup(func() { // the services have stopped, and their connections with them
		_ = l.Close()
		<-accepting
		conns.Wait()
	})
	return strings.Replace(dsn, target, l.Addr().String(), 1)
}

func (p *commitProxy) serve(client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() {
		_, _ = io.Copy(client, server)
		_, _ = io.Copy(io.Discard, server) // when the client is gone first
		_ = client.Close()
	})
	defer answers.Wait()
	defer server.Close()
	seen := false
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		statement := buf[:n] // the driver writes a short one in one piece
		isCommit := bytes.Equal(statement, []byte("\x07\x00\x00\x00\x03COMMIT"))
		if seen && isCommit {
			if f, done := p.take(); f != nil {
				_ = client.Close() // no answer gets through any more
				f(func() {
					// QUIT is answered by closing, after what was sent before it.
					_, _ = server.Write(append(bytes.Clone(statement), "\x01\x00\x00\x00\x01"...))
				}, answers.Wait)
				close(done)
				return
			}
		}
		seen = p.concerns(statement) || seen && !isCommit
		if _, err := server.Write(statement); err != nil {
			return
		}
	}
}
