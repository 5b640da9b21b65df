// Package examples holds a Redis lock of about sixty lines, to be read before pkg/lock. Its comments name what it lacks
// and the file of pkg/lock that adds it. Production code uses pkg/lock.
package examples

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrLost is returned by Unlock when the key had expired or belonged to another owner.
var ErrLost = errors.New("examples: lock lost")

// Lock is one acquisition of one key. It ends when Unlock is called, or when the TTL has passed: nothing renews it, and
// nothing tells its owner that it has ended (pkg/lock/lease_end.go does both).
type Lock struct {
	client redis.UniversalClient
	key    string
	value  string // distinguishes this acquisition from every other one
	unlock *redis.Script
}

// retryPause is how long Acquire pauses between two attempts. A waiter that polls is woken late, and the last one to
// arrive may win (pkg/lock/queue.go and redis_tickets.go order waiters; redis_names.go subscribes to releases).
const retryPause = 20 * time.Millisecond

// Acquire sets the key unless it exists, and retries until ctx ends. There is no fencing token: a resource cannot tell
// a stopped owner from its successor (pkg/lock/scripts/acquire.lua counts one with each acquisition).
func Acquire(ctx context.Context, client redis.UniversalClient, key string, ttl time.Duration) (*Lock, error) {
	l := &Lock{client: client, key: key, value: rand.Text(), unlock: redis.NewScript(compareAndDelete)}
	for {
		// NX and PX in one command: a key without a TTL would outlive an owner that crashed.
		err := client.SetArgs(ctx, key, l.value, redis.SetArgs{Mode: "NX", TTL: ttl}).Err()
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, redis.Nil) { // no answer: the key may be set (pkg/lock/redis_acquire.go deletes it then)
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retryPause):
		}
	}
}

// compareAndDelete deletes the key only if it still has our value. A plain DEL would delete the key of the next owner
// after ours has expired; GET and DEL as two commands leave a gap between them.
const compareAndDelete = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`

// Unlock frees the key. Commit before it: the next owner must find what this one has written. It has a deadline of its
// own, as a request that was cancelled must free its key, too (pkg/lock/redis_release.go also repeats a release without
// an answer).
func (l *Lock) Unlock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	deleted, err := l.unlock.Run(ctx, l.client, []string{l.key}, l.value).Int64()
	if err == nil && deleted == 0 {
		return ErrLost
	}
	return err
}
