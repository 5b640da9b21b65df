package e2e_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// commitProxy forwards connections between the services and MySQL. It makes one COMMIT fail: the next one of a
// transaction with a statement that contains a given text.
type commitProxy struct {
	tb testing.TB

	mu     sync.Mutex
	text   []byte
	commit commitFault
	done   chan struct{} // closed after a COMMIT has failed
}

// commitFault replaces the forwarding of a COMMIT. The service gets no answer, and its connection is closed
// afterwards. send forwards the COMMIT; wait returns when the server has executed it or has ended.
type commitFault func(send, wait func())

// onCommit arms the proxy for the next transaction with such a statement. done is closed after f has returned.
func (p *commitProxy) onCommit(text string, f commitFault) (done <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text, p.commit, p.done = []byte(text), f, make(chan struct{})
	return p.done
}

// concerns reports whether a transaction with this statement has the COMMIT that is to fail.
func (p *commitProxy) concerns(statement []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.commit != nil && bytes.Contains(statement, p.text)
}

// take disarms the proxy for the connection whose COMMIT fails. It returns nil if another connection was first.
func (p *commitProxy) take() (f commitFault, done chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, p.commit = p.commit, nil
	return f, p.done
}

// via starts listening in front of the server of a DSN; it is a value for setup.mysql.
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
	p.tb.Cleanup(func() { // by then the services have stopped and closed their connections
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
		_, _ = io.Copy(io.Discard, server) // if the client has closed first
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
		statement := buf[:n] // the driver writes a short statement in one piece
		isCommit := bytes.Equal(statement, []byte("\x07\x00\x00\x00\x03COMMIT"))
		if seen && isCommit {
			if f, done := p.take(); f != nil {
				_ = client.Close() // no answer may reach the client
				f(func() {
					// The server answers QUIT by closing, after it has executed what was sent before.
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
