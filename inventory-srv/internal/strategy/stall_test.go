package strategy_test

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
	beforeClaim = "UPDATE stock SET fence"
	beforeWrite = "UPDATE stock SET available"
	// The last statement before COMMIT, if the order has two lines.
	beforeLines = "INSERT INTO reservation_lines"
)

// stall stops the first statement that an instance is about to send and that begins with at, as a scheduler, a garbage
// collector or a suspended machine would.
type stall struct {
	at      string
	once    sync.Once
	seen    atomic.Int64 // such statements, the stopped one included
	reached chan struct{}
	resume  chan struct{}
}

// stallAt stops instance i.
func stallAt(t *testing.T, i instance, at string) *stall {
	t.Helper()
	s := &stall{at: at, reached: make(chan struct{}), resume: make(chan struct{})}
	if err := i.db.Callback().Raw().Before("gorm:raw").Register("test:stall", s.hook); err != nil {
		t.Fatalf("hook into the statements: %v", err)
	}
	return s
}

// await waits until an order is stopped here. An order that ends before took another path than the test expects.
func (s *stall) await(t *testing.T, result chan error) {
	t.Helper()
	select {
	case <-s.reached:
	case err := <-result:
		t.Fatalf("the order came to its end (%v) and not to %q", err, s.at)
	}
}

func (s *stall) hook(tx *gorm.DB) {
	if !strings.HasPrefix(tx.Statement.SQL.String(), s.at) {
		return
	}
	s.seen.Add(1)
	s.stop()
}

// stop waits once, until resume is closed.
func (s *stall) stop() {
	s.once.Do(func() {
		close(s.reached)
		select {
		case <-s.resume:
		case <-time.After(2 * patience): // the test has gone wrong; it must not hang as well
		}
	})
}

// waiting reports whether a connection waits for a stock row: it was seen there at many looks in a row, while a
// statement that need not wait is over before the second. (innodb_trx would say it outright, but it is a copy that is
// not renewed while anybody looks at it.)
func (w *world) waiting(t *testing.T) bool {
	t.Helper()
	for range 20 {
		var n int64
		err := w.two.db.Raw(`SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()
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
