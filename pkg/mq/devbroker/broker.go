package devbroker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Options say how a broker behaves. The zero value listens on a free port of 127.0.0.1 and asks about transactions as
// RocketMQ does by default.
type Options struct {
	Addr string // host:port of name server and broker, one listener; default 127.0.0.1:0

	TransactionTimeout time.Duration // how old an open transaction must be to be asked about; default 6 s
	CheckInterval      time.Duration // between two looks at them; default 30 s
	CheckMax           int           // questions about one before it is given up; default 15

	LockLease time.Duration // of an ordered queue, renewed by its owner every 20 s; default 60 s
	Retain    int           // messages kept in a queue; older ones are removed; default 200,000

	Log *slog.Logger // default: none
}

func (o Options) withDefaults() Options {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.TransactionTimeout <= 0 {
		o.TransactionTimeout = 6 * time.Second
	}
	if o.CheckInterval <= 0 {
		o.CheckInterval = 30 * time.Second
	}
	if o.CheckMax <= 0 {
		o.CheckMax = 15
	}
	if o.LockLease <= 0 {
		o.LockLease = time.Minute
	}
	if o.Retain <= 0 {
		o.Retain = 200_000
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Broker is a running development broker. Its methods are safe for concurrent use.
type Broker struct {
	o    Options
	log  *slog.Logger
	addr string

	clock *clock // delayed messages and transaction checks

	lifecycle sync.Mutex // Kill, Restart and Close, one at a time
	net       *listening // nil after Kill

	mu     sync.Mutex // guards all that follows, and what is in it
	topics map[string]*topic
	byPos  map[int64]*message          // by commit-log offset
	last   int64                       // commit-log offset given last
	offset map[cursor]int64            // consumers' progress
	groups map[string]map[string]*conn // consumer group, client
	locks  map[lockedQueue]lease
	asked  map[string]map[*conn]bool // the connections of a producer group, which the broker asks about transactions
	halves map[int64]*half           // open transactions, by commit-log offset

	advertised string // see Advertise; "": the address at which the client has asked

	questions int // about them, that a producer was asked
	turn      int // round robin over the queues
	later     agenda
	faults    faults
}

// listening is the time between Start or Restart and Kill or Close.
type listening struct {
	l       net.Listener
	running sync.WaitGroup

	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool
}

// Start starts a broker. The error is about the address.
func Start(o Options) (*Broker, error) {
	o = o.withDefaults()
	b := &Broker{
		o: o, log: o.Log,
		topics: make(map[string]*topic), byPos: make(map[int64]*message), offset: make(map[cursor]int64),
		groups: make(map[string]map[string]*conn), locks: make(map[lockedQueue]lease),
		asked: make(map[string]map[*conn]bool), halves: make(map[int64]*half),
	}
	b.clock = newClock(b) // before the first request
	n, err := b.listen(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("start the development broker: %w", err)
	}
	b.net, b.addr = n, n.l.Addr().String()
	b.clock.start()
	return b, nil
}

// Addr is the address of the name server, which is the broker's too: host:port.
func (b *Broker) Addr() string { return b.addr }

// Advertise has the name server give clients addr (host:port) as the broker's address, that of a proxy in front of it.
// Clients that have asked before keep their answers.
func (b *Broker) Advertise(addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advertised = addr
}

// Close ends the broker and waits for its goroutines. Closing twice is no error.
func (b *Broker) Close() error {
	err := b.hangUp()
	b.clock.stop()
	return err
}

// Kill stops listening and cuts all connections, as the death of a broker's process would. Messages, offsets and open
// transactions stay for [Broker.Restart]. Connections and queue locks are lost.
func (b *Broker) Kill(context.Context) error { return b.hangUp() }

func (b *Broker) hangUp() error {
	b.lifecycle.Lock()
	defer b.lifecycle.Unlock()
	if b.net == nil {
		return nil
	}
	err := b.net.close()
	b.net = nil
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.locks) // the groups went with their connections
	return err
}

// Restart listens again at the same address, after a Kill.
func (b *Broker) Restart(context.Context) error {
	if err := b.hangUp(); err != nil {
		return err
	}
	b.lifecycle.Lock()
	defer b.lifecycle.Unlock()
	n, err := b.listen(b.addr)
	if err != nil {
		return fmt.Errorf("restart the development broker: %w", err)
	}
	b.net = n
	return nil
}

func (b *Broker) listen(addr string) (*listening, error) {
	l, err := net.Listen("tcp", addr) //nolint:noctx // returns at once
	if err != nil {
		return nil, err
	}
	n := &listening{l: l, conns: make(map[*conn]struct{})}
	n.running.Go(func() { n.accept(b) })
	return n, nil
}

func (n *listening) accept(b *Broker) {
	for {
		raw, err := n.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, most likely
			b.log.Warn("accept a connection", "err", err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		c := newConn(raw, &n.running)
		if !n.add(c) {
			c.close()
			return
		}
		n.running.Go(c.write)
		n.running.Go(func() {
			defer n.remove(c)
			b.read(c)
		})
	}
}

func (n *listening) add(c *conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.conns[c] = struct{}{}
	}
	return !n.closed
}

func (n *listening) remove(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// cut closes all connections; with last, no further ones are taken.
func (n *listening) cut(last bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = n.closed || last
	for c := range n.conns {
		c.close()
	}
}

func (n *listening) close() error {
	err := n.l.Close()
	n.cut(true)
	n.running.Wait()
	return err
}
