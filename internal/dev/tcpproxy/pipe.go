package tcpproxy

import (
	"net"
	"sync"
)

func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

func (l *link) reset() {
	for _, c := range []net.Conn{l.client, l.server} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // closing sends RST instead of FIN
		}
	}
	l.close()
}

func (p *Proxy) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return // closed
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	target, ok := p.admit()
	if !ok {
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	l := &link{client: client, server: server}
	defer l.close()
	if !p.track(l) {
		return
	}
	defer p.forget(l)
	var pipes sync.WaitGroup
	pipes.Go(func() {
		p.pipe(l, Commands)
		l.close()
	})
	pipes.Go(func() {
		p.pipe(l, Replies)
		if !p.isDead(l) { // the client's end of a dead link stays open
			l.close()
		}
	})
	pipes.Wait()
}

// admit returns the target of a new connection. ok is false for the connection that is to be refused.
func (p *Proxy) admit() (target string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.lose && p.refused != nil {
		close(p.refused)
		p.refused = nil
		return "", false
	}
	return p.target, true
}

// track records l for later faults. It returns false if the proxy has been cut.
func (p *Proxy) track(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return false
	}
	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) forget(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

func (p *Proxy) isDead(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return l.dead
}

// pipe forwards one direction until an end is closed or a fault breaks the link.
func (p *Proxy) pipe(l *link, d Direction) {
	dst, src := l.server, l.client
	if d == Replies {
		dst, src = src, dst
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if err != nil || p.loses(d) {
			return
		}
		p.waitWhileHeld(d)
		if p.isDead(l) {
			if d == Replies {
				return
			}
			continue // discarded
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			if p.isDead(l) {
				continue
			}
			return
		}
	}
}

// loses reports whether this data is the reply to be lost.
func (p *Proxy) loses(d Direction) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d != Replies || !p.lose {
		return false
	}
	p.lose = false
	return true
}

func (p *Proxy) waitWhileHeld(d Direction) {
	for first := true; ; first = false {
		p.mu.Lock()
		held, pass := p.held&d != 0, p.pass
		p.mu.Unlock()
		if !held {
			return
		}
		if first {
			p.stopped.Add(1)
		}
		<-pass
	}
}
