package strategy_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/internal/app"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/database"
)

const groupCommit = "group-commit"

// batched is a shop with group-commit as the default of its first instance, whose flusher can be kept busy, so that the
// calls that come meanwhile are one flush. The second instance is an ordinary one.
type batched struct {
	*world
	set    *strategy.Set
	sent   *statements
	rounds int
}

func newBatched(t *testing.T) *batched {
	t.Helper()
	w := newWorld(t)
	return batchedWith(t, w, w.one.db, w.one.sent)
}

// batchedOn has the first instance work on db.
func batchedOn(t *testing.T, w *world, db *gorm.DB) *batched {
	t.Helper()
	return batchedWith(t, w, db, watch(t, db))
}

func batchedWith(t *testing.T, w *world, db *gorm.DB, sent *statements) *batched {
	t.Helper()
	one := w.one
	one.db = db
	set := one.build(t, app.Config{Strategy: groupCommit, Lab: true}).Stock
	w.has(t, "BUSY", 1_000_000)
	return &batched{world: w, set: set, sent: sent}
}

// together makes the calls one flush, in their order, and returns when all have ended: an order that stands in the way
// of operation keeps its flusher busy until the last of them is queued. It returns how many statements the flush sent.
func (c *batched) together(t *testing.T, operation string, calls ...func()) int64 {
	t.Helper()
	c.rounds++
	no := fmt.Sprintf("BUSY-%d", c.rounds)
	first := "SELECT order_no" // the statement with which a flush begins
	busy := func() error {
		_, err := c.set.Reserve(t.Context(), order(no, groupCommit, line("BUSY", 1)))
		return err
	}
	switch operation {
	case "reserve":
		first = "SELECT s.sku"
	case "confirm":
		busy = func() error { _ = c.set.Confirm(t.Context(), no); return nil } // of an unknown order
	case "release":
		busy = func() error { return c.set.Release(t.Context(), no) }
	}
	held := c.sent.holdNext(first)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := busy(); err != nil {
			t.Errorf("the order that keeps the flusher busy: %v", err)
		}
	})
	select {
	case <-held.reached:
	case <-time.After(patience):
		t.Fatalf("no statement began with %q", first)
	}
	for i, call := range calls {
		wg.Go(call)
		eventually(t, fmt.Sprintf("call %d of %s is queued", i, operation), func() bool { return c.waitingFor(t, operation) == i+1 })
	}
	before := c.sent.n.Load()
	close(held.resume)
	wg.Wait()
	return c.sent.n.Load() - before
}

// waitingFor returns how many calls of one operation are queued, by the metric.
func (c *batched) waitingFor(t *testing.T, operation string) int {
	t.Helper()
	families, err := c.one.registry.Gather()
	if err != nil {
		t.Fatalf("gather: %v", err)
	}
	for _, f := range families {
		if f.GetName() != "stock_batch_waiting" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == operation {
				return int(m.GetGauge().GetValue())
			}
		}
	}
	t.Fatalf("no gauge for %s", operation)
	return 0
}

// statements watches what goes through gorm.
type statements struct {
	n    atomic.Int64
	mu   sync.Mutex
	hold *hold
	seen func(statement string) // called before each
}

// hold stops the next statement that begins with at.
type hold struct {
	at              string
	reached, resume chan struct{}
}

func watch(t *testing.T, db *gorm.DB) *statements {
	t.Helper()
	s := &statements{}
	for _, err := range []error{
		db.Callback().Raw().Before("gorm:raw").Register("test:watch", s.hook),
		db.Callback().Row().Before("gorm:row").Register("test:watch", s.hook),
	} {
		if err != nil {
			t.Fatalf("hook into the statements: %v", err)
		}
	}
	return s
}

func (s *statements) hook(tx *gorm.DB) {
	s.n.Add(1)
	s.mu.Lock()
	h, seen := s.hold, s.seen
	if h != nil && strings.HasPrefix(tx.Statement.SQL.String(), h.at) {
		s.hold = nil
	} else {
		h = nil
	}
	s.mu.Unlock()
	if h != nil {
		close(h.reached)
		<-h.resume
	}
	if seen != nil {
		seen(tx.Statement.SQL.String())
	}
}

func (s *statements) holdNext(at string) *hold {
	h := &hold{at: at, reached: make(chan struct{}), resume: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = h
	return h
}

// each has every statement seen before it is sent; nil ends that.
func (s *statements) each(seen func(statement string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = seen
}

// before calls f before the nth statement that begins with at.
func (s *statements) before(at string, nth int64, f func()) {
	var n atomic.Int64
	s.each(func(statement string) {
		if strings.HasPrefix(statement, at) && n.Add(1) == nth {
			f()
		}
	})
}

// wire is a way to the database that can lose one COMMIT, or the answer to it, and counts lock waits that ran out.
type wire struct {
	lose    atomic.Bool // the next COMMIT
	arrives atomic.Bool // whether the server gets it
	refuse  atomic.Bool // after that no connection is made any more

	lockWaits atomic.Int64 // answers with error 1205
}

// open returns a pool whose connections go over the wire.
func (w *wire) open(t *testing.T, dsn string) *gorm.DB {
	t.Helper()
	return w.openWith(t, dsn, database.Options{MaxOpen: 32})
}

func (w *wire) openWith(t *testing.T, dsn string, o database.Options) *gorm.DB {
	t.Helper()
	network := "wire-" + strings.ToLower(t.Name())
	mysql.RegisterDialContext(network, func(ctx context.Context, addr string) (net.Conn, error) {
		if w.refuse.Load() {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: net.ErrClosed}
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		return &wireConn{Conn: c, wire: w}, err
	})
	t.Cleanup(func() { mysql.DeregisterDialContext(network) })
	return dbtest.Open(t, strings.Replace(dsn, "@tcp(", "@"+network+"(", 1), o)
}

type wireConn struct {
	net.Conn
	wire *wire
}

// Write loses the COMMIT that is to be lost and closes the connection.
func (c *wireConn) Write(p []byte) (int, error) {
	if !strings.Contains(string(p), "COMMIT") || !c.wire.lose.CompareAndSwap(true, false) {
		return c.Conn.Write(p)
	}
	if c.wire.arrives.Load() {
		if n, err := c.Conn.Write(p); err != nil {
			return n, err
		}
		_, _ = c.Read(make([]byte, 1)) // the answer is here: it has committed
	}
	return len(p), c.Close()
}

// Read counts the lock waits that ran out.
func (c *wireConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.wire.lockWaits.Add(int64(bytes.Count(p[:n], []byte("Lock wait timeout exceeded"))))
	return n, err
}
