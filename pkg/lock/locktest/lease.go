package locktest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"holdfast/pkg/lock"
)

// Times of the cases that let a lease run out or be renewed: short enough to wait for, long enough for a loaded
// machine.
const (
	shortTTL = 2 * time.Second
	margin   = 200 * time.Millisecond
)

func short(opts ...lock.Option) []lock.Option {
	return append([]lock.Option{lock.WithTTL(shortTTL), lock.WithMargin(margin)}, opts...)
}

// releaseTwice: any number of releases, at once or one after the other, give one answer and leave other leases alone.
func releaseTwice(t *testing.T, b Backend) {
	key := newKey()
	first, second := open(t, b, long()...), open(t, b, long()...)
	lease := acquire(t, first, key)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := lease.Release(t.Context()); err != nil {
				t.Errorf("release: %v", err)
			}
		})
	}
	all.Wait()
	lostWith(t, lease, lock.ErrReleased)
	next := acquire(t, second, key)
	release(t, lease)
	wantHeld(t, first, key)
	release(t, next)
}

// releaseAfterCancel: the caller's context is dead, the key is freed all the same.
func releaseAfterCancel(t *testing.T, b Backend) {
	key := newKey()
	first, second := open(t, b, long()...), open(t, b, long()...)
	ctx, cancel := context.WithCancel(t.Context())
	lease, err := first.Acquire(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	lostWith(t, lease, context.Canceled)
	if err := lease.Release(ctx); err != nil {
		t.Errorf("release: %v", err)
	}
	wantFree(t, second, key)
}

// onlyOwnerReleases: a holder that has lost its key gets ErrLost and does not free the new holder's key.
func onlyOwnerReleases(t *testing.T, b Backend) {
	key := newKey()
	first, second := open(t, b, long()...), open(t, b, long()...)
	lease := acquire(t, first, key)
	b.Lose(t, key)
	next := acquire(t, second, key)
	for range 2 {
		if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) && !errors.Is(err, lock.ErrUnavailable) {
			t.Errorf("release = %v, want ErrLost", err)
		}
	}
	wantHeld(t, first, key)
	release(t, next)
}

// lostKey: the next renewal finds out, and the work's context ends.
func lostKey(t *testing.T, b Backend) {
	key := newKey()
	lease := acquire(t, open(t, b, short()...), key)
	b.Lose(t, key)
	lostWith(t, lease, lock.ErrLost)
	if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("release = %v, want ErrLost", err)
	}
	wantFree(t, open(t, b, long()...), key)
}

// lostOneOfTwo: one key lost is the lease lost, and the other is freed.
func lostOneOfTwo(t *testing.T, b Backend) {
	one, two := newKey(), newKey()
	lease := acquire(t, open(t, b, short()...), one, two)
	b.Lose(t, two)
	lostWith(t, lease, lock.ErrLost)
	if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("release = %v, want ErrLost", err)
	}
	wantFree(t, open(t, b, long()...), one, two)
}

// renewal: a lease lives past its TTL, and no other caller gets the key meanwhile.
func renewal(t *testing.T, b Backend) {
	key := newKey()
	other := open(t, b, long()...)
	lease := acquire(t, open(t, b, short(lock.WithMaxHold(patience))...), key)
	granted := time.Now()
	first := lease.Until()
	if left := time.Until(first); left <= 0 || left > shortTTL-margin {
		t.Errorf("usable for %v of a TTL of %v with a margin of %v", left, shortTTL, margin)
	}
	for time.Since(granted) < 2*shortTTL {
		wantHeld(t, other, key)
		time.Sleep(50 * time.Millisecond)
	}
	if !lease.Until().After(first) {
		t.Error("the renewals did not move Until")
	}
	if err := context.Cause(lease.Context()); err != nil {
		t.Errorf("the lease ended: %v", err)
	}
	release(t, lease)
}

// deadHolder: a holder that gave its lease up without releasing it blocks others until its TTL, and no longer.
func deadHolder(t *testing.T, b Backend) {
	key := newKey()
	other := open(t, b, lock.WithTTL(3*patience), lock.WithMaxHold(3*patience))
	ctx, crash := context.WithCancel(t.Context())
	lease, err := open(t, b, short()...).Acquire(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	crash() // it is neither renewed nor released from now on
	next := acquire(t, other, key)
	if now := time.Now(); now.Before(lease.Until()) {
		t.Errorf("the key was given away %v before the lease's end", lease.Until().Sub(now))
	}
	release(t, next)
}

// cutOff: a holder that cannot be reached loses its lease at Until, before anybody else can have the key.
func cutOff(t *testing.T, b Backend) {
	key := newKey()
	other := open(t, b, long()...)
	l, cut := b.NewCut(t, short()...)
	lease := acquire(t, closing(t, l), key)
	cut()
	next := acquire(t, other, key)
	if lease.Context().Err() == nil {
		t.Error("two holders: the lease was still believed in when its key was given away")
	}
	lostWith(t, lease, lock.ErrLost)
	if err := lease.Release(t.Context()); err == nil {
		t.Error("released what belongs to another")
	}
	wantHeld(t, open(t, b, long()...), key)
	release(t, next)
}

// maxHold: a holder that hangs is renewed no further than MaxHold, and then the key is free without a release.
func maxHold(t *testing.T, b Backend) {
	key := newKey()
	other := open(t, b, lock.WithTTL(3*patience), lock.WithMaxHold(3*patience))
	const hold = 3 * time.Second
	lease := acquire(t, open(t, b, short(lock.WithMaxHold(hold))...), key)
	asked := time.Now()
	lostWith(t, lease, lock.ErrMaxHold)
	if held := time.Since(asked); held < hold-time.Second {
		t.Errorf("cut after %v, want MaxHold %v", held, hold)
	}
	next := acquire(t, other, key)
	if held := time.Since(asked); held < hold-time.Second {
		t.Errorf("the key was given away after %v, before MaxHold %v", held, hold)
	}
	release(t, next)
}
