package recovery

import (
	"sync"
	"time"
)

const (
	firstBackoff = 5 * time.Second
	lastBackoff  = 5 * time.Minute

	// maxBackoffs bounds the memory: 4,096 orders that fail again and again are an outage, not bad orders.
	maxBackoffs = 4096
)

// backoff sets aside orders that failed, each for a time that doubles with its failures. It lives in memory: another
// replica, or this one after a restart, tries such an order once more, which is harmless.
type backoff struct {
	now func() time.Time

	mu     sync.Mutex
	failed map[string]failure
}

type failure struct {
	count int
	until time.Time
}

func newBackoff() *backoff {
	return &backoff{now: time.Now, failed: map[string]failure{}}
}

// due reports whether an order may be tried.
func (b *backoff) due(orderNo string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.failed[orderNo].until.After(b.now())
}

// fail sets an order aside, for longer than the last time.
func (b *backoff) fail(orderNo string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.failed[orderNo]
	f.count++
	b.put(orderNo, f.count, min(lastBackoff, firstBackoff<<min(f.count-1, 10)))
}

// rest sets an order aside for as long as any.
func (b *backoff) rest(orderNo string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put(orderNo, b.failed[orderNo].count, lastBackoff)
}

// forget ends an order's back-off.
func (b *backoff) forget(orderNo string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.failed, orderNo)
}

// put remembers an order. When the memory is full, orders that are due again make room; without room the order is not
// set aside.
func (b *backoff) put(orderNo string, count int, d time.Duration) {
	now := b.now()
	if _, known := b.failed[orderNo]; !known && len(b.failed) >= maxBackoffs {
		for no, f := range b.failed {
			if !f.until.After(now) {
				delete(b.failed, no)
			}
		}
		if len(b.failed) >= maxBackoffs {
			return
		}
	}
	b.failed[orderNo] = failure{count, now.Add(d)}
}
