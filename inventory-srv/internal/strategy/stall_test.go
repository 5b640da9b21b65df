package strategy_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gorm.io/gorm"
)

// The statements before which a holder is stopped. Before the second it has claimed and has read.
const (
	beforeClaim = "UPDATE stock SET fence"
	beforeWrite = "UPDATE stock SET available"
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

func (s *stall) hook(tx *gorm.DB) {
	if !strings.HasPrefix(tx.Statement.SQL.String(), s.at) {
		return
	}
	s.seen.Add(1)
	s.once.Do(func() {
		close(s.reached)
		<-s.resume
	})
}

// waiting reports whether a transaction waits for a row lock with a statement that contains text.
func (w *world) waiting(t *testing.T, text string) bool {
	t.Helper()
	var n int64
	err := w.one.db.Raw("SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT' AND trx_query LIKE ?", "%"+text+"%").
		Scan(&n).Error
	if err != nil {
		t.Fatalf("look at the transactions: %v", err)
	}
	return n > 0
}
