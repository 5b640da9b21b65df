package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// maxFailures is after how many attempts in a row without an answer Acquire returns ErrUnavailable. More than one, so
// that a broken connection is replaced; few, so that a dead Redis is reported.
const maxFailures = 3

// Acquire implements [Locker]. It returns ctx.Err() when ctx ended first, ErrMaxWait after the longest wait,
// ErrUnavailable after three attempts in a row without an answer, ErrOldVersion, ErrKeys, or ErrClosed, to be told
// apart with errors.Is.
func (l *locker) Acquire(ctx context.Context, keys ...string) (*Lease, error) {
	return l.observed(ctx, keys, l.contend)
}

// observed sorts the keys, removes duplicates, reports the wait and names the keys in the error.
func (l *locker) observed(
	ctx context.Context, keys []string, get func(context.Context, []string) (*Lease, error),
) (*Lease, error) {
	if l.invalid != nil {
		return nil, l.invalid
	}
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
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

// contend waits for its turn in this process and then for the keys, both until ctx ends or MaxWait has passed.
func (l *locker) contend(ctx context.Context, keys []string) (lease *Lease, err error) {
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
	woken, err := l.queue.enter(waiting, keys)
	if err == nil {
		defer l.queue.leave(keys, woken)
		lease, err = l.retry(ctx, waiting, keys, woken)
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, ErrMaxWait
	}
	return lease, err
}

// retry makes attempts until one succeeds.
func (l *locker) retry(ctx, waiting context.Context, keys []string, woken waiter) (_ *Lease, err error) {
	a := l.newAcquisition(keys)
	defer func() {
		if err != nil {
			l.giveUp(ctx, a)
		}
	}()
	failures := 0
	for {
		lease, err := l.attempt(ctx, waiting, a)
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

// acquisition is a claim with at most one call at a time: an attempt whose caller has left may still be running.
type acquisition struct {
	keys  []string
	claim claim
	busy  chan struct{} // holds one value during a call
}

func (l *locker) newAcquisition(keys []string) *acquisition {
	return &acquisition{keys: keys, claim: l.backend.claim(keys, l.set), busy: make(chan struct{}, 1)}
}

// attempt tries once. It returns as soon as waiting ends or the Locker is closed. The attempt then continues without
// its caller and frees the keys that it gets. The lease ends with ctx.
func (l *locker) attempt(ctx, waiting context.Context, a *acquisition) (*Lease, error) {
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
		return newLease(ctx, l.set, a.keys, a.claim, o.grant), nil
	case <-waiting.Done():
		return nil, waiting.Err()
	case <-l.closing:
		return nil, ErrClosed
	}
}

// discard frees keys that no caller will use. If that fails, they expire.
func (l *locker) discard(ctx context.Context, c claim) {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	_ = c.drop(ctx)
}

// giveUp removes what the backend keeps for the acquisition, after an attempt that still runs. Only Close waits for it.
func (l *locker) giveUp(ctx context.Context, a *acquisition) {
	l.running.Go(func() {
		a.busy <- struct{}{}
		defer func() { <-a.busy }()
		a.claim.giveUp(context.WithoutCancel(ctx))
	})
}

// wait returns when a key was freed, when the key in the way has expired, or after one to two polls, as a message may
// be lost: Redis stores none for a subscriber that is disconnected.
func (l *locker) wait(ctx context.Context, woken waiter, held *heldError) error {
	pause := l.set.poll + rand.N(l.set.poll)
	switch {
	case held.pause > 0:
		pause, woken = min(pause, held.pause), nil
	case held.left >= 0:
		pause = min(pause, held.left+time.Millisecond+rand.N(5*time.Millisecond))
	}
	if held.kept > 0 {
		pause = min(pause, held.kept/2) // the next attempt renews the keep
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
