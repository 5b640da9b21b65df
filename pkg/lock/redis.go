package lock

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// maxToken is the highest token that Lua, whose numbers are doubles, counts exactly.
const maxToken = 1 << 53

// Redis is the Locker on one Redis: a single server, the master that sentinels know, or one slot of a
// Cluster.
type Redis struct {
	*locker
	backend *redisBackend
}

var _ Locker = (*Redis)(nil)

// NewRedis returns a Locker that uses the client, which should come from [NewClient] or [NewSentinelClient]. It sends
// nothing yet. It refuses options that cannot work and clients that would ignore deadlines, repeat commands or
// read from replicas, and names the value.
//
// With replicas, under sentinels or in a Cluster, a failover may forget the last writes of the old master: replication
// is asynchronous. The new master has no key for a lease that was granted just before, and another claim may get it.
// The holder's next renewal, at most TTL/3 later, is answered "not mine". The token counter may fall back too, so that
// a token is given twice. The resource's own check and Raise protect against both; [WithWaitReplicas] makes them less
// likely.
func NewRedis(client redis.UniversalClient, opts ...Option) (*Redis, error) {
	set, err := newSettings(opts)
	if err != nil {
		return nil, err
	}
	if err := checkClient(client); err != nil {
		return nil, err
	}
	b := &redisBackend{client: client, names: names{set.prefix}, scripts: newScripts()}
	return &Redis{locker: newLocker(b, set), backend: b}, nil
}

// redisBackend holds the keys on one Redis.
type redisBackend struct {
	client  redis.UniversalClient
	names   names
	scripts scripts
	checked atomic.Bool // no counter of an older version was found
}

var _ backend = (*redisBackend)(nil)

// check implements backend.
func (b *redisBackend) check(settings) error { return nil }

// listen implements backend.
func (b *redisBackend) listen(on listener) (stop func()) { return subscribe(b.client, b.names, on) }

// Raise raises the fencing counter of the prefix to at least atLeast and never lowers it. Call it when the resource
// refuses a token as stale, as Redis may have lost its counter, and every token would be refused until the counter has
// caught up. All keys of the prefix share the counter: atLeast is the newest token that the whole resource has seen
// (MAX(fence)), so that one call is enough. The key is the one that was refused; errors name it. It returns
// ErrUnavailable, ErrKeys, ctx.Err(), or an error that names a value out of range.
func (r *Redis) Raise(ctx context.Context, key string, atLeast int64) error {
	if err := checkRaise(key, atLeast); err != nil {
		return err
	}
	b := r.backend
	call, cancel := context.WithTimeout(ctx, r.set.callTimeout())
	defer cancel()
	if err := run(call, b.client, b.scripts.raise, []string{b.names.fence()}, atLeast).Err(); err != nil {
		return failed(ctx, fmt.Sprintf("raise token of %q", key), err)
	}
	return nil
}

// failed is the error of a command to Redis: that of the caller's context if it has ended, else ErrUnavailable.
func failed(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	return fmt.Errorf("%s: %w", what, unavailable(err))
}

func checkRaise(key string, atLeast int64) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if atLeast < 0 || atLeast > maxToken {
		return fmt.Errorf("lock: token %d of %q is not between 0 and 2^53", atLeast, key)
	}
	return nil
}
