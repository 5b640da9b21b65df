package lock

import (
	"context"
	"errors"
)

// Locker hands out leases. Keys are sorted and de-duplicated; all of them are taken, or none.
//
// Name all keys in one call. A caller that waits for a key while it holds a lease on another can deadlock with a caller
// that does the opposite, or with a waiter that has a ticket for both; MaxHold and MaxWait then end it.
type Locker interface {
	// Try returns ErrHeld at once when another lease holds one of the keys, or one is kept for a waiter.
	Try(ctx context.Context, keys ...string) (*Lease, error)
	// Acquire waits until it holds all keys. When ctx ends first, errors.Is(err, ctx.Err()); when MaxWait is over first,
	// the error is ErrMaxWait. ctx is the parent of the lease's context, MaxWait ends the wait only.
	Acquire(ctx context.Context, keys ...string) (*Lease, error)
	// With returns a Locker on the same keys with the same queue and other settings: TTL, MaxHold, Margin, MaxWait, Poll,
	// Metadata, WaitReplicas, Observer. It is closed with the Locker that it comes from. Options that cannot work, and
	// another prefix, are the error of its Try and Acquire.
	With(opts ...Option) Locker
}

// Do acquires the keys, calls fn under the lease's context and releases the lease when fn has returned. A transaction is
// committed inside of fn.
//
// It returns the error of Acquire, and then fn was not called, or the error of fn. To that it joins why the lease ended
// while fn ran (ErrLost, ErrMaxHold), and ErrLost when the release finds that a key was not ours to the end; fn may have
// returned nil then and have done its work. A release without an answer is no error of the work: the keys expire after
// their TTL, and the Observer receives it.
func Do(ctx context.Context, l Locker, keys []string, fn func(ctx context.Context, lease *Lease) error) (err error) {
	lease, err := l.Acquire(ctx, keys...)
	if err != nil {
		return err
	}
	defer func() { // also when fn panics
		var ended error
		if ctx.Err() == nil {
			ended = context.Cause(lease.Context()) //nolint:contextcheck // a child of ctx, made by Acquire
		}
		released := lease.Release(ctx)
		if errors.Is(released, ErrUnavailable) || errors.Is(ended, ErrLost) {
			released = nil
		}
		err = errors.Join(err, ended, released)
	}()
	return fn(lease.Context(), lease) //nolint:contextcheck // as above
}
