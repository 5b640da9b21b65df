package lock

import (
	"context"
	"time"
)

// backend is where keys are held. All timing (waiting, renewing, losing) lies above it and is the same for each.
type backend interface {
	// check refuses settings that the backend cannot honour.
	check(set settings) error
	// claim prepares one acquisition of the keys, which are sorted and distinct. It sends nothing.
	claim(keys []string, set settings) claim
	// listen reports freed keys to on until stop is called; stop returns when no report can follow.
	listen(on listener) (stop func())
}

// listener receives what happens to the keys of a backend.
type listener interface {
	// ready is called when reports begin to arrive, and again after an interruption in which some may have been missed.
	ready()
	// freed is called with the key of a lock that was released. Expiry is not reported.
	freed(key string)
}

// claim is one acquisition from its first attempt to its release. Its methods are never called at the same time.
type claim interface {
	// take tries once to get all keys or none; it may be called again after a failure. Errors: a *heldError, or
	// ErrUnavailable, after which it has cleaned up as far as it could. It bounds its own time.
	take(ctx context.Context) (grant, error)
	// extend lets the keys live for ttl from now and returns until when they surely do. ctx ends with the lease; extend
	// bounds its own time further. Errors: ErrLost when the keys are not ours any more, else ErrUnavailable, after which
	// they may or may not live longer.
	extend(ctx context.Context, ttl time.Duration) (until time.Time, err error)
	// drop frees the keys. Errors: ErrLost when one was not ours any more, else ErrUnavailable.
	drop(ctx context.Context) error
	// giveUp ends the wait of a claim that was not granted: what the backend keeps for it is removed, or lapses when no
	// answer comes. It bounds its own time.
	giveUp(ctx context.Context)
}

// grant is what a successful take yields.
type grant struct {
	until time.Time // the keys surely live until then, by our monotonic clock
	token int64     // of all keys; 0 where the backend has none
}
