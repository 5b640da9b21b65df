// Package exercise is a wrong attempt at exercise 4. Stage 4: the release uses the caller's context, which may have
// ended.
package exercise

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// What can happen to a lock.
var (
	ErrHeld    = errors.New("lock: held by another owner")
	ErrLost    = errors.New("lock: lost")
	ErrMaxHold = errors.New("lock: held for its longest time")
)

// Clock is the time as the lock sees it.
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

// New returns a lock on the key.
func New(client *redis.Client, clock Clock, key string, ttl, maxHold time.Duration) *Lock {
	return &Lock{client: client, clock: clock, key: key, ttl: ttl, maxHold: maxHold}
}

// Acquire takes the lock, or returns ErrHeld. The value is the proof of ownership: a new one for each acquisition.
func (l *Lock) Acquire(ctx context.Context) (value string, err error) {
	value = rand.Text()
	// One command: the key never exists without its expiry, and only one client can be the first.
	taken, err := l.client.SetNX(ctx, l.key, value, l.ttl).Result()
	if err != nil {
		return "", err
	}
	if !taken {
		return "", ErrHeld
	}
	return value, nil
}

const compareAndDelete = `-- delete the key if it is mine
if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end
return 0`

// Release frees the lock, or returns ErrLost if the key no longer has the value: the lease ended before.
func (l *Lock) Release(ctx context.Context, value string) error {
	deleted, err := l.client.Eval(ctx, compareAndDelete, []string{l.key}, value).Int64()
	if err != nil {
		return err
	}
	if deleted == 0 {
		return ErrLost
	}
	return nil
}

const compareAndExtend = `-- extend the key if it is mine
if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("PEXPIRE", KEYS[1], ARGV[2]) end
return 0`

// Renew extends the key every third of its TTL, so that two attempts may fail. It returns when ctx ends, ErrLost when
// the key is not ours any more, ErrMaxHold at the longest time, and what went wrong if Redis does not answer.
func (l *Lock) Renew(ctx context.Context, value string) error {
	end := l.clock.Now().Add(l.maxHold)
	for {
		if err := l.clock.Sleep(ctx, l.ttl/3); err != nil {
			return err
		}
		if !l.clock.Now().Before(end) {
			return ErrMaxHold
		}
		extended, err := l.client.Eval(ctx, compareAndExtend, []string{l.key}, value, l.ttl.Milliseconds()).Int64()
		if err != nil {
			return err
		}
		if extended == 0 {
			return ErrLost
		}
	}
}

// Do runs work while it holds the lock. The context of work ends as soon as the lock is lost.
func (l *Lock) Do(ctx context.Context, work func(ctx context.Context) error) error {
	value, err := l.Acquire(ctx)
	if err != nil {
		return err
	}
	held, end := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		end(l.Renew(held, value)) // whatever ended the renewal, the key will not live for long: the work must stop
	}()
	workErr := work(held)
	end(nil) // stops the renewal; the cause of a loss stays
	<-stopped
	return errors.Join(workErr, l.Release(ctx, value))
}
