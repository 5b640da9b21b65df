package main

import (
	"context"
	"net"
	"sync"
	"time"
)

const dialTime = 5 * time.Second

// slowDatabase is a proxy to the database that passes a limited number of bytes per second from the services, all of
// them together. It lowers the capacity of the shop: a load of ten times the capacity can then be offered by a
// generator that has the same processors.
type slowDatabase struct {
	listener net.Listener
	target   string
	perByte  time.Duration
	running  sync.WaitGroup

	mu    sync.Mutex
	next  time.Time             // when the next bytes may pass
	conns map[net.Conn]struct{} // nil once it is closed
}

// slowDown starts a proxy to target, which passes so many KB per second.
func slowDown(ctx context.Context, target string, kilobytes int) (*slowDatabase, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &slowDatabase{listener: l, target: target, perByte: time.Second / time.Duration(1000*kilobytes), conns: map[net.Conn]struct{}{}}
	d.running.Go(func() { d.accept(ctx) })
	return d, nil
}

func (d *slowDatabase) port() int { return d.listener.Addr().(*net.TCPAddr).Port }

// close ends all connections.
func (d *slowDatabase) close() error {
	err := d.listener.Close()
	d.mu.Lock()
	for c := range d.conns {
		_ = c.Close()
	}
	d.conns = nil
	d.mu.Unlock()
	d.running.Wait()
	return err
}

func (d *slowDatabase) accept(ctx context.Context) {
	for {
		c, err := d.listener.Accept()
		if err != nil {
			return // closed
		}
		d.running.Go(func() { d.serve(ctx, c) })
	}
}

func (d *slowDatabase) serve(ctx context.Context, service net.Conn) {
	defer func() { _ = service.Close() }()
	dialer := net.Dialer{Timeout: dialTime}
	database, err := dialer.DialContext(ctx, "tcp", d.target)
	if err != nil {
		return
	}
	defer func() { _ = database.Close() }()
	if !d.track(service, database) {
		return
	}
	defer d.forget(service, database)
	var back sync.WaitGroup
	back.Go(func() { pipe(service, database, func(int) {}) })
	pipe(database, service, d.wait)
	back.Wait()
}

// track has close end the connections. It returns false when close was called.
func (d *slowDatabase) track(conns ...net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns == nil {
		return false
	}
	for _, c := range conns {
		d.conns[c] = struct{}{}
	}
	return true
}

func (d *slowDatabase) forget(conns ...net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range conns {
		delete(d.conns, c)
	}
}

// pipe copies until one end is closed, and then closes both. It calls before for each piece of data.
func pipe(to, from net.Conn, before func(bytes int)) {
	defer func() { _ = to.Close() }()
	defer func() { _ = from.Close() }()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		before(n)
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// wait waits until so many bytes may pass. They pass in the order in which they came.
func (d *slowDatabase) wait(bytes int) {
	d.mu.Lock()
	at := time.Now()
	if d.next.After(at) {
		at = d.next
	}
	d.next = at.Add(time.Duration(bytes) * d.perByte)
	d.mu.Unlock()
	time.Sleep(time.Until(at))
}
