package batch

import (
	"fmt"
	"time"
)

// Option configures a Batcher.
type Option func(*settings)

// WithMaxWeight sets how much one batch may hold, as the sum of what its calls weigh. A heavier call is flushed alone.
// Default 1,000.
func WithMaxWeight(n int) Option { return func(s *settings) { s.maxWeight = n } }

// WithLimit sets what one batch may hold by a function that is asked for each batch: for a flush whose work became
// slower or faster. The batch holds the smaller of its answer and the maximum, and at least one call. Default: the
// maximum.
func WithLimit(limit func() int) Option { return func(s *settings) { s.limit = limit } }

// WithOverlap lets the next flush begin when one has run for d: a flush that waits for something slow does not keep the
// calls that arrive meanwhile. Default 0: it keeps them until it ends.
func WithOverlap(d time.Duration) Option { return func(s *settings) { s.overlap = d } }

// WithFlushes lets n flushes run at the same time, for work that is done elsewhere: while one batch is worked on there,
// the next one is on its way. Default 1.
func WithFlushes(n int) Option { return func(s *settings) { s.flushes = n } }

// WithMaxFlushes bounds how many flushes run at the same time, those that others have overlapped included. Without it
// work that has become slow gets more and more flushes, until each of them takes longer than its callers wait. Default
// 0: no bound.
func WithMaxFlushes(n int) Option { return func(s *settings) { s.maxFlushes = n } }

// WithLinger lets a flush that could begin wait for the callers of the last one if these call again at once and if one
// large batch is better than two small ones. Both is learned from the flushes before. It waits until as many calls are
// queued as callers were there, and at most until d after the end of the last flush. Who has no company does not wait.
// There must not be several flushes, see WithFlushes. Default 0: no flush waits.
func WithLinger(d time.Duration) Option { return func(s *settings) { s.linger = d } }

// WithTimeout sets how long a flush may take: its context's deadline. Default 10 s.
func WithTimeout(d time.Duration) Option { return func(s *settings) { s.timeout = d } }

// WithPatience sets how long a caller whose context has ended waits for an answer that is on its way, so that an
// outcome that comes a moment later is not an unknown one. Default 0.
func WithPatience(d time.Duration) Option { return func(s *settings) { s.patience = d } }

// WithObserver sets the observer of the flushes. Default: none.
func WithObserver(o Observer) Option { return func(s *settings) { s.observer = o } }

// Observer is notified of each flush, for metrics. The flush's goroutine calls it before the answers go out, so it must
// be quick.
type Observer interface {
	Flushed(f Flush)
}

// Flush is what an Observer learns of one flush.
type Flush struct {
	Calls  int
	Weight int
	Queued time.Duration // how long the call that arrived first had waited when the flush began
	Took   time.Duration
}

type silent struct{}

var _ Observer = silent{}

func (silent) Flushed(Flush) {}

type settings struct {
	maxWeight  int
	limit      func() int // nil: maxWeight
	flushes    int
	maxFlushes int
	overlap    time.Duration
	linger     time.Duration
	timeout    time.Duration
	patience   time.Duration
	observer   Observer
}

// newSettings applies the options over the defaults and panics when they cannot work: a programmer's fault.
func newSettings(opts []Option) settings {
	s := settings{maxWeight: 1000, flushes: 1, timeout: 10 * time.Second, observer: silent{}}
	for _, o := range opts {
		o(&s)
	}
	impossible := s.maxWeight < 1 || s.flushes < 1 || s.timeout <= 0 || s.patience < 0 || s.overlap < 0 || s.linger < 0 ||
		s.linger > 0 && s.flushes > 1 || s.maxFlushes < 0 || s.observer == nil
	if impossible {
		panic(fmt.Sprintf("batch: options that cannot work: %+v", s))
	}
	return s
}

// batchWeight is what the next batch may hold.
func (s *settings) batchWeight() int {
	if s.limit == nil {
		return s.maxWeight
	}
	return min(s.maxWeight, s.limit())
}
