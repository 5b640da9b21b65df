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

// locker is everything about leases that does not depend on where the keys are held. It is embedded in the exported
// types, which share its methods.
type locker struct {
	*shared
	set     settings
	invalid error // of the options of With
}

// shared is what a Locker has in common with those that its With returns.
type shared struct {
	backend backend
	gate    *gate
	wakes   *wakes

	mu      sync.Mutex
	closed  bool
	closing chan struct{}
	stop    func()         // ends the backend's reports; nil until the first contention
	running sync.WaitGroup // waits and attempts, including those that their callers left
}

var _ Locker = (*locker)(nil)

func newLocker(b backend, set settings) *locker {
	return &locker{set: set, shared: &shared{backend: b, gate: newGate(), wakes: newWakes(), closing: make(chan struct{})}}
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
// ErrUnavailable, ErrOldVersion, ErrKeys, ErrClosed or ctx.Err(), to be told apart with errors.Is.
func (l *locker) Try(ctx context.Context, keys ...string) (*Lease, error) {
	return l.observed(ctx, keys, func(ctx context.Context, keys []string) (*Lease, error) {
		return l.attempt(ctx, ctx, keys, l.newAcquisition(keys))
	})
}

// Acquire implements [Locker]. It returns ctx.Err() when ctx ended first, ErrMaxWait after the longest wait, ErrUnavailable
// after three attempts in a row without an answer, ErrOldVersion, ErrKeys, or ErrClosed, to be told apart with errors.Is.
func (l *locker) Acquire(ctx context.Context, keys ...string) (*Lease, error) {
	return l.observed(ctx, keys, l.contend)
}

// observed canonicalises the keys, reports the wait and says in the error which keys it was about.
func (l *locker) observed(
	ctx context.Context, keys []string, get func(context.Context, []string) (*Lease, error),
) (*Lease, error) {
	if l.invalid != nil {
		return nil, l.invalid
	}
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

// contend waits for its turn in this process and then for the keys, both until ctx is done or MaxWait is over.
func (l *locker) contend(ctx context.Context, keys []string) (*Lease, error) {
	if !l.start() {
		return nil, ErrClosed
	}
	defer l.running.Done()
	waiting := ctx
	if l.set.maxWait > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, l.set.maxWait)
		defer cancel()
	}
	lease, err := l.queue(ctx, waiting, keys)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, ErrMaxWait
	}
	return lease, err
}

func (l *locker) queue(ctx, waiting context.Context, keys []string) (*Lease, error) {
	if err := l.gate.enter(waiting, keys); err != nil {
		return nil, err
	}
	defer l.gate.leave(keys)
	woken := l.wakes.join(keys)
	defer l.wakes.leave(keys)

	a := l.newAcquisition(keys)
	lease, err := l.retry(ctx, waiting, keys, a, woken)
	if err != nil {
		l.giveUp(ctx, a)
	}
	return lease, err
}

// retry makes attempts until one succeeds.
func (l *locker) retry(ctx, waiting context.Context, keys []string, a *acquisition, woken <-chan struct{}) (*Lease, error) {
	failures := 0
	for {
		lease, err := l.attempt(ctx, waiting, keys, a)
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
		if err := l.wait(waiting, woken, held); err != nil {
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
	if held.kept > 0 {
		pause = min(pause, held.kept/2) // the next attempt renews it
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

// acquisition is a claim whose calls are kept apart: an attempt that its caller has left may still be under way.
type acquisition struct {
	claim claim
	busy  chan struct{} // holds one value during a call
}

func (l *locker) newAcquisition(keys []string) *acquisition {
	return &acquisition{claim: l.backend.claim(keys, l.set), busy: make(chan struct{}, 1)}
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

// attempt tries once. When waiting ends first, or the Locker is closed, it returns at once; the attempt goes on without its
// caller, who would not know what became of it, and frees what it got. The lease ends with ctx.
func (l *locker) attempt(ctx, waiting context.Context, keys []string, a *acquisition) (*Lease, error) {
	if err := waiting.Err(); err != nil {
		return nil, err
	}
	if !l.start() {
		return nil, ErrClosed
	}
	type outcome struct {
		grant grant
		err   error
	}
	done := make(chan outcome)
	a.busy <- struct{}{}
	go func() {
		defer l.running.Done()
		defer func() { <-a.busy }()
		live := context.WithoutCancel(ctx) // the clean-up must outlive the caller
		g, err := a.claim.take(live)
		if err == nil && !time.Now().Before(g.until.Add(-l.set.margin)) {
			l.discard(live, a.claim)
			err = fmt.Errorf("%w: the answer came too late to be of use", ErrUnavailable)
		}
		select {
		case done <- outcome{g, err}:
			return
		case <-waiting.Done():
		case <-l.closing:
		}
		if err == nil {
			l.discard(live, a.claim)
		}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, o.err
		}
		return newLease(ctx, l.set, keys, a.claim, o.grant), nil
	case <-waiting.Done():
		return nil, waiting.Err()
	case <-l.closing:
		return nil, ErrClosed
	}
}

// giveUp removes what the backend keeps for the acquisition, after an attempt that is still under way. Its caller does not
// wait for it, Close does.
func (l *locker) giveUp(ctx context.Context, a *acquisition) {
	l.running.Go(func() {
		a.busy <- struct{}{}
		defer func() { <-a.busy }()
		a.claim.giveUp(context.WithoutCancel(ctx))
	})
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
