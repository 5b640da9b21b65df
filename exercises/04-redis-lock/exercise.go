// Package exercise is exercise 4: a lock in Redis, in four stages. The task is in task.md.
//
//	Stage 1, Acquire: take the key only if it is absent, with its expiry.
//	Stage 2, Release: delete the key only if it is yours.
//	Stage 3, Renew:   extend the key while the work runs, up to a longest time.
//	Stage 4, Do:      run the work, and end its context when the lock is lost.
//
// The check runs the stages in this order and stops at the first that breaks.
package exercise

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// What can happen to a lock. The check asks for these errors with errors.Is.
var (
	ErrHeld    = errors.New("lock: held by another owner")
	ErrLost    = errors.New("lock: lost")
	ErrMaxHold = errors.New("lock: held for its longest time")
)

// Clock is the time as the lock sees it. Use it instead of package time: in the check, time passes only in Sleep, and
// the keys in Redis expire by the same clock.
type Clock interface {
	Now() time.Time
	// Sleep returns nil after d, or the error of ctx as soon as ctx ends.
	Sleep(ctx context.Context, d time.Duration) error
}

// Lock is a lock on one key. Many processes have a Lock on the same key.
type Lock struct {
	client  *redis.Client
	clock   Clock
	key     string
	ttl     time.Duration // the key expires so long after it was set or extended
	maxHold time.Duration // the key is not extended any more so long after Renew began
}

// New returns a lock on the key. It is complete.
func New(client *redis.Client, clock Clock, key string, ttl, maxHold time.Duration) *Lock {
	return &Lock{client: client, clock: clock, key: key, ttl: ttl, maxHold: maxHold}
}

// Acquire takes the lock and returns the value that it stored in the key, or ErrHeld at once if another owner has it.
// No two acquisitions store the same value: it tells one owner from the next.
//
// Stage 1. This one looks first and then sets.
func (l *Lock) Acquire(ctx context.Context) (value string, err error) {
	n, err := l.client.Exists(ctx, l.key).Result()
	if err != nil {
		return "", err
	}
	if n > 0 {
		return "", ErrHeld
	}
	return "locked", l.client.Set(ctx, l.key, "locked", l.ttl).Err()
}

// Release frees the lock that Acquire took with this value. It returns ErrLost if the key has no such value any more:
// it expired, and another owner may have it.
//
// Stage 2. Nothing is written yet.
func (l *Lock) Release(ctx context.Context, value string) error {
	return nil
}

// Renew extends the key by ttl again and again while the work runs, with pauses of l.clock.Sleep. It returns
//
//	when ctx ends: the work has ended, and nothing is extended any more;
//	ErrLost when the key does not have the value any more;
//	ErrMaxHold when maxHold has passed since it began: work that hangs must not keep the lock for ever;
//	the error of Redis when there is no answer.
//
// Stage 3. Nothing is written yet.
func (l *Lock) Renew(ctx context.Context, value string) error {
	return nil
}

// Do acquires the lock, runs work while Renew extends the lock in a goroutine, and releases the lock. It returns
// ErrHeld without running work if another owner has the lock, and otherwise the error of work. The context of work ends
// as soon as Renew has ended. If the lock was lost, the error is ErrLost, also if work returned nil. The lock is
// released also if the caller's ctx has ended. When Do returns, its goroutine has ended.
//
// Stage 4. Only the call of work is written yet.
func (l *Lock) Do(ctx context.Context, work func(ctx context.Context) error) error {
	return work(ctx)
}
