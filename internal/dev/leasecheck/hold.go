package leasecheck

import "sync"

// Holding is one scripted deduction that stops at a point until it may go on.
type Holding struct {
	at, resume chan struct{}
	once       sync.Once
	done       chan struct{}
	err        error // after done
}

// Hold starts a deduction of one unit that stops at p, if it is not empty, under a lease of its own.
func (b *Bench) Hold(name string, locker Locker, key string, p Point, journal *Journal) *Holding {
	b.tb.Helper()
	h := &Holding{at: make(chan struct{}), resume: make(chan struct{}), done: make(chan struct{})}
	ctx := Within(b.tb)
	go func() {
		defer close(h.done)
		lease, err := locker.Acquire(ctx, key)
		if err != nil {
			h.err = err
			return
		}
		defer func() { _ = lease.Release(ctx) }() // it may be another's by now, which is what this is about
		d := Deduction{ID: name, Keys: []string{key}, Quantity: 1}
		h.err = Record(journal, lease, d, func() (map[string]int64, error) {
			return b.subject.Guards.Deduct(ctx, b.Stock, lease, d, func(here Point) {
				if here == p {
					h.stop()
				}
			})
		})
	}()
	b.tb.Cleanup(func() {
		h.GoOn()
		<-h.done
	})
	return h
}

func (h *Holding) stop() {
	close(h.at)
	<-h.resume
}

// Reached reports whether it has come to its point, or to its end without passing it.
func (h *Holding) Reached() bool {
	select {
	case <-h.at:
		return true
	default:
		return h.Ended()
	}
}

// Ended reports whether it has ended.
func (h *Holding) Ended() bool {
	select {
	case <-h.done:
		return true
	default:
		return false
	}
}

// GoOn lets it pass its point.
func (h *Holding) GoOn() { h.once.Do(func() { close(h.resume) }) }

// Wait waits for its end and returns what came of it.
func (h *Holding) Wait() error {
	<-h.done
	return h.err
}
