package replicatest

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"
)

// The statements before which a holder is stopped. Before the second it has claimed and has read.
const (
	BeforeClaim = "UPDATE stock SET fence"
	BeforeWrite = "UPDATE stock SET available"
	// The last statement before COMMIT, if the order has two lines.
	BeforeLines = "INSERT INTO reservation_lines"
)

// Stall stops the first statement that an instance is about to send and that begins with at, as a scheduler, a garbage
// collector or a suspended machine would.
type Stall struct {
	At      string
	once    sync.Once
	Seen    atomic.Int64 // such statements, the stopped one included
	Reached chan struct{}
	Resume  chan struct{}
}

// StallAt stops instance i before a statement that begins with at.
func StallAt(t *testing.T, i Instance, at string) *Stall {
	t.Helper()
	s := &Stall{At: at, Reached: make(chan struct{}), Resume: make(chan struct{})}
	if err := i.DB.Callback().Raw().Before("gorm:raw").Register("test:stall", s.Hook); err != nil {
		t.Fatalf("hook into the statements: %v", err)
	}
	return s
}

// Await waits until an order is stopped here. An order that ends before took another path than the test expects.
func (s *Stall) Await(t *testing.T, result chan error) {
	t.Helper()
	select {
	case <-s.Reached:
	case err := <-result:
		t.Fatalf("the order came to its end (%v) and not to %q", err, s.At)
	}
}

// Hook is a callback of gorm that stops the statement.
func (s *Stall) Hook(tx *gorm.DB) {
	if !strings.HasPrefix(tx.Statement.SQL.String(), s.At) {
		return
	}
	s.Seen.Add(1)
	s.Stop()
}

// Stop waits once, until Resume is closed.
func (s *Stall) Stop() {
	s.once.Do(func() {
		close(s.Reached)
		select {
		case <-s.Resume:
		case <-time.After(2 * Patience): // the test has gone wrong; it must not hang as well
		}
	})
}

// Waiting reports whether a connection waits for a stock row: it was seen there at many looks in a row, while a
// statement that need not wait is over before the second. (innodb_trx would say it outright, but it is a copy that is
// not renewed while anybody looks at it.)
func (w *World) Waiting(t *testing.T) bool {
	t.Helper()
	for range 20 {
		var n int64
		err := w.Two.DB.Raw(`SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()
			AND command = 'Query' AND (info LIKE 'UPDATE stock%' OR info LIKE 'SELECT%FOR UPDATE')`).Scan(&n).Error
		if err != nil {
			t.Fatalf("look at the connections: %v", err)
		}
		if n == 0 {
			return false
		}
		time.Sleep(time.Millisecond) // between two looks
	}
	return true
}
