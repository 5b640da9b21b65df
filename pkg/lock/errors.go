package lock

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What can happen to a lock. They are plain errors, independent of any business.
var (
	// ErrHeld means that another lease holds one of the keys, or that one is kept for a waiter.
	ErrHeld = errors.New("lock: held by another owner")
	// ErrLost means that the lease ended before its holder released it: it could not be renewed in time, or its key
	// was gone or another owner's. Work done under it must not be committed without the resource's own check.
	ErrLost = errors.New("lock: lease lost")
	// ErrNotRenewed is the ErrLost of a lease whose time ran out because no renewal was answered in time, or because its
	// process was stopped. For every other ErrLost, Redis has answered that the key is gone or another owner's.
	ErrNotRenewed = fmt.Errorf("%w: not renewed in time", ErrLost)
	// ErrMaxWait means that Acquire did not get the keys within its longest wait. Nothing is held.
	ErrMaxWait = errors.New("lock: not acquired within the longest wait")
	// ErrMaxHold means that the lease reached its longest time and is not renewed any more.
	ErrMaxHold = errors.New("lock: lease held for its longest time")
	// ErrReleased is the cause of a lease's context after Release.
	ErrReleased = errors.New("lock: lease released")
	// ErrStale is for resources that check fencing tokens: they have seen a newer one. This package never returns it.
	ErrStale = errors.New("lock: fencing token is stale")
	// ErrUnavailable means that the backend, or enough of its nodes, gave no usable answer; it wraps what the server or
	// the network said.
	ErrUnavailable = errors.New("lock: no answer")
	// ErrKeys means that the caller named no key, an empty one, or one of more than 512 bytes.
	ErrKeys = errors.New("lock: a lock needs one or more keys of 1 to 512 bytes")
	// ErrOldVersion means that a process of the version with one fencing counter for each key uses the prefix, or has left
	// its counters: its tokens and ours are not comparable. All processes of a prefix stop for the change of the version,
	// and the old counters are deleted. The error names what was found.
	ErrOldVersion = errors.New("lock: prefix is used by an older version")
	// ErrClosed means that the Locker was closed.
	ErrClosed = errors.New("lock: closed")
)

// heldError is ErrHeld with what a waiter needs to know.
type heldError struct {
	left  time.Duration // of the key that is in the way; negative when it never expires
	kept  time.Duration // for how long the backend keeps the keys for this claim; zero when it keeps none
	pause time.Duration // if not zero, after this time the claim retries, whatever the listener receives
}

func (e *heldError) Error() string { return ErrHeld.Error() }

func (e *heldError) Unwrap() error { return ErrHeld }

// unavailable wraps what went wrong between us and Redis. A deadline of ours is kept as text only: callers ask
// errors.Is(err, context.DeadlineExceeded) to learn about their own context.
func unavailable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %v", ErrUnavailable, err) //nolint:errorlint // Hidden on purpose, see above.
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
