// Package leasecheck holds the checks of a lease that several kinds of test processes share:
//
//   - [Stock], a resource in MySQL or MariaDB that is guarded by fencing tokens, and [Guards], each of which a test can
//     disable to show what it prevents;
//   - [Worker], which deducts from it under leases and writes a [Journal] of the answers, and a holder process
//     around it, for faults that stop or kill the holder;
//   - models of a mutex and of a fenced counter for porcupine, which decide whether a journal is possible;
//   - [Checks], scripted situations that are run on the real lock and on mutants of it.
//
// Only tests import it.
package leasecheck

import (
	"context"

	"github.com/redis/go-redis/v9"

	"holdfast/pkg/lock"
)

// Locker is what the checks need of a lock: the real one on Redis, or a mutant of it.
type Locker interface {
	lock.Locker
	Raise(ctx context.Context, key string, atLeast int64) error
	Close() error
}

var _ Locker = (*lock.Redis)(nil)

// Subject is what a check examines.
type Subject struct {
	NewLocker func(client redis.UniversalClient, opts ...lock.Option) (Locker, error)
	Guards    Guards // of the resource
}

// Real is the lock and the protocol as they should be.
func Real() Subject {
	return Subject{NewLocker: func(client redis.UniversalClient, opts ...lock.Option) (Locker, error) {
		return lock.NewRedis(client, opts...)
	}}
}
