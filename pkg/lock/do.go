package lock

import (
	"context"
	"errors"
)

// Do acquires the keys, calls fn under the lease's context and releases the lease when fn has returned. A transaction
// is committed inside of fn.
//
// It returns the error of Acquire, and then fn was not called, or the error of fn. To that it joins why the lease ended
// while fn ran (ErrLost, ErrMaxHold), and ErrLost when the release finds that a key was not ours to the end; fn may
// have returned nil then and have done its work. A release without an answer is no error of the work: the keys expire
// after their TTL, and the Observer receives it.
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
