package lock_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy stands between a client and Redis and can hold replies back, lose one, or be unreachable.
type proxy struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	held  chan struct{} // replies wait until it is closed; nil: they pass
	lose  bool          // instead of passing the next reply on, break the connection
	after chan struct{} // refuse the connection after that and close the channel; nil: serve it
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: target, listener: l, conns: make(map[net.Conn]bool)}
	p.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.locked(func() {
			for c := range p.conns {
				_ = c.Close()
			}
			if p.held != nil {
				close(p.held)
			}
			p.held = nil
		})
		p.running.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) locked(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	do()
}

// holdReplies lets commands pass and keeps what Redis answers until passReplies.
func (p *proxy) holdReplies() { p.locked(func() { p.held = make(chan struct{}) }) }

func (p *proxy) passReplies() { p.locked(func() { close(p.held); p.held = nil }) }

// loseReply breaks the connection instead of passing the next reply on. What comes after on a new connection passes.
func (p *proxy) loseReply() { p.locked(func() { p.lose = true }) }

// loseReplyAndNext does the same and refuses the next connection too. The channel is closed when both have happened.
func (p *proxy) loseReplyAndNext() <-chan struct{} {
	after := make(chan struct{})
	p.locked(func() { p.lose, p.after = true, after })
	return after
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	refused := false
	p.locked(func() {
		p.conns[client], p.conns[server] = true, true
		if refused = !p.lose && p.after != nil; refused {
			close(p.after)
			p.after = nil
		}
	})
	if refused {
		return
	}
	var pipes sync.WaitGroup
	pipes.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	pipes.Go(func() {
		p.replies(client, server)
		_ = client.Close()
	})
	pipes.Wait()
	p.locked(func() {
		delete(p.conns, client)
		delete(p.conns, server)
	})
}

func (p *proxy) replies(client, server net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		var held chan struct{}
		var lose bool
		p.locked(func() {
			held, lose = p.held, p.lose
			p.lose = false
		})
		if lose {
			return
		}
		if held != nil {
			<-held
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}
