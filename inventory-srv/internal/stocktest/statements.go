package stocktest

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gorm.io/gorm"
)

// Statements counts the raw statements of a pool, and can stop or observe them before they are sent. Its methods may be
// called at any time.
type Statements struct {
	n    atomic.Int64
	mu   sync.Mutex
	hold *Hold
	seen func(statement string) // called before each
}

// Hold stops one statement. Reached is closed when the statement has been stopped. The caller closes Resume to have it
// sent.
type Hold struct {
	Reached, Resume chan struct{}
	at              string
}

// Watch hooks into a pool that executes nothing yet: gorm accepts no callback while it runs statements.
func Watch(tb testing.TB, db *gorm.DB) *Statements {
	tb.Helper()
	s := &Statements{}
	for _, err := range []error{
		db.Callback().Raw().Before("gorm:raw").Register("test:watch", s.hook),
		db.Callback().Row().Before("gorm:row").Register("test:watch", s.hook),
	} {
		if err != nil {
			tb.Fatalf("hook into the statements: %v", err)
		}
	}
	return s
}

func (s *Statements) hook(tx *gorm.DB) {
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
		close(h.Reached)
		<-h.Resume
	}
	if seen != nil {
		seen(tx.Statement.SQL.String())
	}
}

// Count returns the number of statements since Watch.
func (s *Statements) Count() int64 { return s.n.Load() }

// HoldNext stops the next statement that begins with at. It replaces a Hold that no statement has reached.
func (s *Statements) HoldNext(at string) *Hold {
	h := &Hold{at: at, Reached: make(chan struct{}), Resume: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = h
	return h
}

// Each has seen called with every statement before it is sent. A nil function ends that.
func (s *Statements) Each(seen func(statement string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = seen
}

// Before has f called before the nth statement that begins with at, counted from 1. It replaces the function of Each.
func (s *Statements) Before(at string, nth int64, f func()) {
	var n atomic.Int64
	s.Each(func(statement string) {
		if strings.HasPrefix(statement, at) && n.Add(1) == nth {
			f()
		}
	})
}
