package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// maxFailures is how often in a row an acquisition may get no answer before it gives up with ErrUnavailable. More than
// one, so that a broken connection heals; few, so that a dead Redis is reported and not waited for.
const maxFailures = 3

// splitJitter is within which time those who split the votes try again; it should be several round trips long.
const splitJitter = 10 * time.Millisecond

// patience is how long an attempt of Acquire may stand in a backend's own queue.
const patience = time.Second

// locker is everything about leases that does not depend on where the keys are held. It is embedded in the exported
// types, which share its methods.
type locker struct {
	backend backend
	set     settings
	gate    *gate
	wakes   *wakes

	mu      sync.Mutex
	closed  bool
	closing chan struct{}
	stop    func()         // ends the backend's reports; nil until the first contention
	running sync.WaitGroup // attempts, including those that their callers left
}

var _ Locker = (*locker)(nil)

func newLocker(b backend, set settings) *locker {
	return &locker{backend: b, set: set, gate: newGate(), wakes: newWakes(), closing: make(chan struct{})}
}

// Try implements [Locker]: one attempt, which does not queue behind this process's waiters. It returns ErrHeld,
// ErrUnavailable, ErrKeys, ErrClosed or ctx.Err(), to be told apart with errors.Is.
func (l *locker) Try(ctx context.Context, keys ...string) (*Lease, error) {
	return l.observed(ctx, keys, func(ctx context.Context, keys []string) (*Lease, error) {
		return l.attempt(ctx, keys, l.backend.claim(keys), 0)
	})
}

// Acquire implements [Locker]. It returns ctx.Err() when ctx ended first, ErrUnavailable after three attempts in a row
// without an answer, ErrKeys, or ErrClosed, to be told apart with errors.Is.
func (l *locker) Acquire(ctx context.Context, keys ...string) (*Lease, error) {
	return l.observed(ctx, keys, l.contend)
}

// observed canonicalises the keys, reports the wait and says in the error which keys it was about.
func (l *locker) observed(
	ctx context.Context, keys []string, get func(context.Context, []string) (*Lease, error),
) (*Lease, error) {
	keys = slices.Clone(keys)
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if err := checkKeys(keys); err != nil {
		return nil, err
	}
	start := time.Now()
	lease, err := get(ctx, keys)
	if err != nil {
		err = fmt.Errorf("lock %q: %w", keys, err)
	}
	l.set.observer.Waited(keys, time.Since(start), err)
	return lease, err
}

// contend waits for its turn in this process and then for the keys.
func (l *locker) contend(ctx context.Context, keys []string) (*Lease, error) {
	if err := l.gate.enter(ctx, keys); err != nil {
		return nil, err
	}
	defer l.gate.leave(keys)
	woken := l.wakes.join(keys)
	defer l.wakes.leave(keys)

	claim := l.backend.claim(keys)
	failures := 0
	for {
		lease, err := l.attempt(ctx, keys, claim, patience)
		held := &heldError{left: -1}
		switch {
		case errors.As(err, &held):
			failures = 0
			if err := l.listen(); err != nil {
				return nil, err
			}
		case errors.Is(err, ErrUnavailable):
			if failures++; failures == maxFailures {
				return nil, err
			}
		default:
			return lease, err
		}
		if err := l.wait(ctx, woken, held); err != nil {
			return nil, err
		}
	}
}

// wait returns when it is worth while to try again: a key was freed, the key that is in the way has expired, or it is
// time to look in case a wake-up was lost, as Redis keeps no message for a subscriber that is away.
//
// Those who split the votes of several nodes among them wait for a random moment only: the first to come back finds all
// nodes free. A wake-up must not cut that short, as each of them would wake the others by taking its votes back.
func (l *locker) wait(ctx context.Context, woken <-chan struct{}, held *heldError) error {
	pause := l.set.poll + rand.N(l.set.poll)
	switch {
	case held.split:
		pause, woken = min(pause, time.Millisecond+rand.N(splitJitter)), nil
	case held.left >= 0:
		pause = min(pause, held.left+time.Millisecond+rand.N(5*time.Millisecond))
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-woken:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.closing:
		return ErrClosed
	}
	return nil
}

// listen begins to hear of freed keys, once for this process. When reports begin to arrive every contender is woken, as a
// release between its last attempt and that moment went unheard: subscribe, then try, then wait.
func (l *locker) listen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	if l.stop == nil {
		l.stop = l.backend.listen(listener{ready: l.wakes.onReady, freed: l.wakes.onFreed})
	}
	return nil
}

// attempt tries once. When ctx ends first, or the Locker is closed, it returns at once; the attempt goes on without its
// caller, who would not know what became of it, and frees what it got.
func (l *locker) attempt(ctx context.Context, keys []string, c claim, patience time.Duration) (*Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, ErrClosed
	}
	l.running.Add(1)
	l.mu.Unlock()

	type outcome struct {
		grant grant
		err   error
	}
	done := make(chan outcome)
	go func() {
		defer l.running.Done()
		live := context.WithoutCancel(ctx) // the clean-up must outlive the caller
		g, err := c.take(live, patience)
		if err == nil && !time.Now().Before(g.until.Add(-l.set.margin)) {
			l.discard(live, c)
			err = fmt.Errorf("%w: the answer came too late to be of use", ErrUnavailable)
		}
		select {
		case done <- outcome{g, err}:
			return
		case <-ctx.Done():
		case <-l.closing:
		}
		if err == nil {
			l.discard(live, c)
		}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, o.err
		}
		return newLease(ctx, l.set, keys, c, o.grant), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.closing:
		return nil, ErrClosed
	}
}

// discard frees keys that nobody will use. If that fails they expire.
func (l *locker) discard(ctx context.Context, c claim) {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	_ = c.drop(ctx)
}

// Close ends waits with ErrClosed, stops listening, and returns when no goroutine of it runs any more. Leases live on until
// they are released. It may be called twice. It closes nothing that was given to it.
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
