package lock

import (
	"context"
	"slices"
	"sync"
)

// queue orders the callers of this process that wait for a key by their arrival. Only the first caller sends commands.
// Without the queue every waiter would send one after every release, and the last one to arrive could win.
type queue struct {
	mu      sync.Mutex
	waiters map[string][]waiter // by key, in the order of arrival
}

var _ listener = (*queue)(nil)

// waiter receives a value when its caller has become the first in a queue, or a key was freed.
type waiter chan struct{}

// signal never blocks: one pending value is enough.
func (w waiter) signal() {
	select {
	case w <- struct{}{}:
	default:
	}
}

func newQueue() *queue { return &queue{waiters: make(map[string][]waiter)} }

// enter returns when the caller is the first in the queue of each key. Keys must be sorted: two callers that enter the
// same queues in opposite order would wait for each other. After an error the caller is in none of them.
func (q *queue) enter(ctx context.Context, keys []string) (waiter, error) {
	w := make(waiter, 1)
	for i, key := range keys {
		if err := q.enterOne(ctx, key, w); err != nil {
			q.leave(keys[:i+1], w)
			return nil, err
		}
	}
	select {
	case <-w: // older than the first attempt
	default:
	}
	return w, nil
}

func (q *queue) enterOne(ctx context.Context, key string, w waiter) error {
	q.mu.Lock()
	q.waiters[key] = append(q.waiters[key], w)
	q.mu.Unlock()
	for !q.isFirst(key, w) {
		select {
		case <-w:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (q *queue) isFirst(key string, w waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiters[key][0] == w
}

// leave removes the caller from the queues of the keys, and signals the next caller where it was the first.
func (q *queue) leave(keys []string, w waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, key := range keys {
		i := slices.Index(q.waiters[key], w)
		q.waiters[key] = slices.Delete(q.waiters[key], i, i+1)
		switch {
		case len(q.waiters[key]) == 0:
			delete(q.waiters, key)
		case i == 0:
			q.waiters[key][0].signal()
		}
	}
}

// freed implements listener.
func (q *queue) freed(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if waiters := q.waiters[key]; len(waiters) > 0 {
		waiters[0].signal()
	}
}

// ready implements listener: a report that was missed until now may have been for any key. A caller that is the first
// for several keys is signalled once.
func (q *queue) ready() {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := make(map[waiter]bool)
	for _, waiters := range q.waiters {
		first[waiters[0]] = true
	}
	for w := range first {
		w.signal()
	}
}
