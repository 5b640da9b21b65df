package lock

import (
	"context"
	"fmt"
	"sync"
)

// locker is what the exported types, which embed it, have in common.
type locker struct {
	*shared
	set     settings
	invalid error // of the options of With
}

// shared is what a Locker has in common with those that its With returns.
type shared struct {
	backend backend
	queue   *queue

	mu      sync.Mutex
	closed  bool
	closing chan struct{}
	stop    func()         // ends the backend's reports; nil until the first contention
	running sync.WaitGroup // waits and attempts, including those that their callers left
}

var _ Locker = (*locker)(nil)

func newLocker(b backend, set settings) *locker {
	return &locker{set: set, shared: &shared{backend: b, queue: newQueue(), closing: make(chan struct{})}}
}

// With implements [Locker].
func (l *locker) With(opts ...Option) Locker {
	set, err := l.set.with(opts)
	if err == nil && set.prefix != l.set.prefix {
		err = fmt.Errorf("lock: Prefix %q of With is not the Locker's %q", set.prefix, l.set.prefix)
	}
	if err == nil {
		err = l.backend.check(set)
	}
	if err != nil {
		return &locker{shared: l.shared, set: l.set, invalid: err}
	}
	return &locker{shared: l.shared, set: set, invalid: l.invalid}
}

// Try implements [Locker]: one attempt, which does not queue behind this process's waiters. It returns ErrHeld,
// ErrUnavailable, ErrOldVersion, ErrKeys, ErrClosed or ctx.Err(); errors.Is distinguishes them.
func (l *locker) Try(ctx context.Context, keys ...string) (*Lease, error) {
	return l.observed(ctx, keys, func(ctx context.Context, keys []string) (*Lease, error) {
		return l.attempt(ctx, ctx, l.newAcquisition(keys))
	})
}

// listen subscribes to releases, once for this process. The first report wakes every contender, as a release between
// its last attempt and the subscription was missed: subscribe, then try, then wait.
func (l *locker) listen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	if l.stop == nil {
		l.stop = l.backend.listen(l.queue)
	}
	return nil
}

// start counts the caller among what Close waits for; false after Close.
func (l *locker) start() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.running.Add(1)
	return true
}

// Close ends waits with ErrClosed, stops listening, and returns when no goroutine of it runs any more. Leases live on
// until they are released. It may be called twice. It closes nothing that was given to it.
func (l *locker) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.closing)
	}
	stop := l.stop
	l.mu.Unlock()
	if stop != nil {
		stop()
	}
	l.running.Wait()
	return nil
}
