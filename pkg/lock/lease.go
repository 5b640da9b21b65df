package lock

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Lease is the right to work on its keys until it ends. Work under [Lease.Context] and release the lease afterwards:
// for a database transaction that means commit first, release then.
type Lease struct {
	keys    []string
	token   int64
	set     settings
	claim   claim
	granted time.Time
	limit   time.Time // granted + MaxHold

	ctx    context.Context //nolint:containedctx // The lease's context is what callers work under.
	cancel context.CancelCauseFunc

	mu      sync.Mutex // guards until, renewal and the decision that the lease has ended
	until   time.Time
	renewal error // of the last renewal
	timer   *time.Timer

	watched   chan struct{}  // closed when the watchdog has ended
	reporting sync.WaitGroup // a loss on its way to the observer
	releasing sync.Mutex     // guards the two below and is held during a release
	released  bool
	result    error
}

func newLease(ctx context.Context, set settings, keys []string, c claim, g grant) *Lease {
	now := time.Now()
	l := &Lease{
		keys: keys, token: g.token, set: set, claim: c,
		granted: now, limit: now.Add(set.maxHold), watched: make(chan struct{}),
	}
	l.until = l.usable(g.until)
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.mu.Lock() // the timer reads fields that are set below
	l.timer = time.AfterFunc(time.Until(l.until), l.expire)
	l.mu.Unlock()
	go l.watch() //nolint:contextcheck // It works under the context that is a field of l.
	return l
}

// Context is derived from the context of the acquisition. It is cancelled when the lease is lost (ErrLost), has reached
// its longest time (ErrMaxHold) or is released (ErrReleased); context.Cause says which. A local timer does it at
// Until, whatever Redis or the network do.
func (l *Lease) Context() context.Context { return l.ctx }

// Until returns when the lease ends unless it is renewed before: drift and margin are taken off, and it is never past
// the longest time. A process that was stopped may find it in the past before the context's cancellation arrives.
func (l *Lease) Until() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// Token returns the fencing token of a key: greater than that of every earlier lease of the same prefix, as long as
// Redis keeps its counter. All keys of a lease have the same one. It is 0 where the backend has none or the lease does
// not hold the key; 0 must never be claimed.
func (l *Lease) Token(key string) int64 {
	if _, held := slices.BinarySearch(l.keys, key); !held {
		return 0
	}
	return l.token
}
