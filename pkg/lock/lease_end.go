package lock

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Release stops renewing, waits for a renewal and for an observer's report on their way, frees the keys and wakes a
// waiter. It works with a cancelled ctx too, in its own time of at most a second or so; ctx lends its values only.
//
// It returns nil when the keys were ours to the end. ErrLost means that one of them was not: another holder may have
// worked at the same time. After ErrUnavailable the keys may live on until their TTL; Release may be called again.
// Further calls repeat the first definite answer.
//
// When the answer of a release is lost, it is retried. If the retry finds the keys gone or another owner's while the
// lease was still valid by the local clock, the first command freed them, and Release returns nil. It cannot tell this
// from keys that Redis lost in the same moment.
func (l *Lease) Release(ctx context.Context) error {
	l.releasing.Lock()
	defer l.releasing.Unlock()
	if l.released {
		return l.result
	}
	l.mu.Lock()
	l.end(ErrReleased)
	l.mu.Unlock()
	<-l.watched // an extend that is carried out after the delete would be answered "not mine" and be taken for a loss

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	err := l.claim.drop(ctx)
	if err != nil {
		err = fmt.Errorf("release %q: %w", l.keys, err)
	}
	l.released = !errors.Is(err, ErrUnavailable)
	l.result = err
	l.reporting.Wait() // now that the keys are free
	l.set.observer.Released(l.keys, time.Since(l.granted), err)
	return err
}

// watch renews the lease at a third of its TTL until the lease ends. It is the only user of the claim while it runs.
func (l *Lease) watch() {
	defer close(l.watched)
	pause := l.set.ttl / 3
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for l.Until().Before(l.limit) {
		select {
		case <-l.ctx.Done():
			return
		case <-timer.C:
		}
		if !time.Now().Before(l.Until()) {
			return // this process was stopped; the timer ends the lease next
		}
		err := l.renew()
		l.set.observer.Renewed(l.keys, err)
		pause = l.set.ttl / 3
		switch {
		case errors.Is(err, ErrLost):
			l.lose(err)
			return
		case err != nil: // no answer: the keys may well be ours; the timer decides when that is too late
			pause = l.set.ttl / 30
		}
		timer.Reset(pause)
	}
}

// renew extends the keys, but not past MaxHold: what the margin and the drift need on top is added so that the lease
// may be used up to its limit.
func (l *Lease) renew() error {
	ctx, cancel := context.WithDeadline(l.ctx, l.Until())
	defer cancel()
	ttl := min(l.set.ttl, time.Until(l.limit)+l.set.margin+l.set.drift())
	until, err := l.claim.extend(ctx, ttl)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewal = err
	if err != nil || l.ctx.Err() != nil || !time.Now().Before(l.until) {
		return err // a lease that has ended stays ended, whatever the answer is
	}
	if until = l.usable(until); until.After(l.until) {
		l.until = until
		l.timer.Reset(time.Until(until))
	}
	return nil
}

// usable takes the margin off and cuts at the longest time.
func (l *Lease) usable(until time.Time) time.Time {
	if until = until.Add(-l.set.margin); until.Before(l.limit) {
		return until
	}
	return l.limit
}

// expire is the timer: the lease's time has run out, unless a renewal has just moved it.
func (l *Lease) expire() {
	l.mu.Lock()
	now, until, renewal := time.Now(), l.until, l.renewal
	l.mu.Unlock()
	switch {
	case now.Before(until):
	case !now.Before(l.limit):
		l.lose(ErrMaxHold)
	case renewal != nil:
		l.lose(fmt.Errorf("%w: %w", ErrNotRenewed, renewal))
	default:
		l.lose(ErrNotRenewed)
	}
}

// lose ends the lease and reports it, once and only if nothing else has ended it before. The report has a goroutine of
// its own, so that a slow observer delays only Release, which waits for it.
func (l *Lease) lose(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end(cause) {
		l.reporting.Go(func() { l.set.observer.Lost(l.keys, cause) })
	}
}

// end cancels the context with the cause and reports whether it was this call that ended the lease. It needs mu.
func (l *Lease) end(cause error) bool {
	l.timer.Stop()
	if l.ctx.Err() != nil {
		return false
	}
	l.cancel(cause)
	return true
}
