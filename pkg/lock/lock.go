package lock

import "context"

// Locker grants leases. Keys are sorted and de-duplicated; all of them are taken, or none.
//
// Name all keys in one call. A caller that waits for a key while it holds a lease on another can deadlock with a caller
// that does the opposite, or with a waiter that has a ticket for both; MaxHold and MaxWait then end it.
type Locker interface {
	// Try returns ErrHeld at once when another lease holds one of the keys, or one is kept for a waiter.
	Try(ctx context.Context, keys ...string) (*Lease, error)
	// Acquire waits until it holds all keys. When ctx ends first, errors.Is(err, ctx.Err()); when MaxWait has passed
	// first, the error is ErrMaxWait. ctx is the parent of the lease's context, MaxWait ends the wait only.
	Acquire(ctx context.Context, keys ...string) (*Lease, error)
	// With returns a Locker on the same keys with the same queue and other settings: TTL, MaxHold, Margin, MaxWait, Poll,
	// Metadata, WaitReplicas, Observer. It is closed with the Locker that it comes from. Options that cannot work, and
	// another prefix, are the error of its Try and Acquire.
	With(opts ...Option) Locker
}
