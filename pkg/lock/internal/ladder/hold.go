package ladder

import "sync"

// holding is one scripted deduction that stops at a point until it may go on.
type holding struct {
	at, resume chan struct{}
	once       sync.Once
	done       chan struct{}
	err        error // after done
}

// hold starts a deduction of one unit that stops at p, under a lease of its own.
func (b *Bench) hold(name string, locker Locker, key string, p Point, journal *Journal) *holding {
	b.tb.Helper()
	h := &holding{at: make(chan struct{}), resume: make(chan struct{}), done: make(chan struct{})}
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
		h.goOn()
		<-h.done
	})
	return h
}

func (h *holding) stop() {
	close(h.at)
	<-h.resume
}

// reached reports whether it has come to its point, or to its end without passing it.
func (h *holding) reached() bool {
	select {
	case <-h.at:
		return true
	default:
		return h.ended()
	}
}

func (h *holding) ended() bool {
	select {
	case <-h.done:
		return true
	default:
		return false
	}
}

func (h *holding) goOn() { h.once.Do(func() { close(h.resume) }) }

func (h *holding) wait() error {
	<-h.done
	return h.err
}
