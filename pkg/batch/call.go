package batch

import (
	"context"
	"time"
)

// Call is one caller's item and its place for an answer.
type Call[T, R any] struct {
	Item T

	weight int
	since  time.Time     // when it joined the queue
	done   chan struct{} // closed when final can be read

	staged answer[R] // the flush's; it may still be written when the caller has left
	final  answer[R]

	// Under the Batcher's mutex.
	state   state
	leaving bool         // the caller has given up and would rather not be executed
	batch   *Batch[T, R] // nil while it is queued
}

type answer[R any] struct {
	result R
	err    error
}

// state is where a call is on its way. queued and open calls may be withdrawn.
type state int

const (
	queued state = iota
	open         // in a flush that has done nothing yet
	sealed       // in a flush that may have executed it
	left         // withdrawn
	over         // answered
)

// Answer sets what the caller gets when the flush returns; the last answer counts.
func (c *Call[T, R]) Answer(result R, err error) {
	c.staged = answer[R]{result, err}
}

// Batch is the calls of one flush. But for [Batch.Deliver] it is for the flush's goroutine alone, and no longer than
// the flush.
type Batch[T, R any] struct {
	owner   *Batcher[T, R]
	calls   []*Call[T, R]
	weight  int
	waiting int // callers that have not left
	cancel  context.CancelFunc
	begun   bool // to answer calls
}

// Calls returns the batch's calls in order of arrival. They are sealed.
func (b *Batch[T, R]) Calls() []*Call[T, R] { return b.calls }

// Deliver answers a call at once, while the flush goes on with the others. Only the first answer that is delivered
// counts. Unlike the other methods it may be called from any goroutine while the flush runs.
func (b *Batch[T, R]) Deliver(c *Call[T, R], result R, err error) {
	b.owner.mu.Lock()
	defer b.owner.mu.Unlock()
	if c.state == left || c.state == over {
		return
	}
	b.answering()
	c.state, c.final = over, answer[R]{result, err}
	close(c.done)
}

// answering notes that the first call gets its answer; the caller holds the mutex.
func (b *Batch[T, R]) answering() {
	if !b.begun {
		b.begun = true
		b.owner.linger.answer(len(b.calls), len(b.owner.queue))
	}
}

// Open says that none of these calls has been executed, or that all of it was undone, and returns those whose callers
// still wait. Until [Batch.Seal] a caller may leave and get [ErrWithdrawn]. When all callers of the batch have left,
// the flush's context ends.
//
// A flush that never calls it is right too. Its callers are only less often certain.
func (b *Batch[T, R]) Open(calls []*Call[T, R]) []*Call[T, R] {
	var gone []*Call[T, R]
	here := make([]*Call[T, R], 0, len(calls))
	b.owner.mu.Lock()
	for _, c := range calls {
		switch {
		case c.state == left || c.state == over:
		case c.leaving:
			b.leave(c)
			gone = append(gone, c)
		default:
			c.state = open
			here = append(here, c)
		}
	}
	b.owner.mu.Unlock()
	for _, c := range gone {
		c.final.err = ErrWithdrawn
		close(c.done)
	}
	return here
}

// Seal must be called before the flush does what it cannot undo, if it called [Batch.Open]. It returns the calls whose
// callers still wait. The others got [ErrWithdrawn] and must not be executed. After Seal a caller that leaves gets
// [ErrUnanswered].
func (b *Batch[T, R]) Seal(calls []*Call[T, R]) []*Call[T, R] {
	here := make([]*Call[T, R], 0, len(calls))
	b.owner.mu.Lock()
	defer b.owner.mu.Unlock()
	for _, c := range calls {
		if c.state != left && c.state != over {
			c.state = sealed
			here = append(here, c)
		}
	}
	return here
}

// leave takes a call out of the flush; the caller holds the mutex.
func (b *Batch[T, R]) leave(c *Call[T, R]) {
	c.state = left
	b.waiting--
	if b.waiting == 0 {
		b.cancel()
	}
}
