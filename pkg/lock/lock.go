package lock

import "context"

// Locker hands out leases. Keys are sorted and de-duplicated; all of them are taken, or none.
type Locker interface {
	// Try returns ErrHeld at once when somebody else holds one of the keys.
	Try(ctx context.Context, keys ...string) (*Lease, error)
	// Acquire waits until it holds all keys or ctx is done; then errors.Is(err, ctx.Err()).
	Acquire(ctx context.Context, keys ...string) (*Lease, error)
}
