package lock

import (
	"context"
	_ "embed" // for the scripts
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

//go:embed scripts/acquire.lua
var acquireLua string

//go:embed scripts/extend.lua
var extendLua string

//go:embed scripts/release.lua
var releaseLua string

//go:embed scripts/raise.lua
var raiseLua string

// maxToken is the highest token that Lua, whose numbers are doubles, counts exactly.
const maxToken = 1 << 53

// NewClient returns a go-redis client that is fit for locks: it obeys the deadlines of contexts (by default go-redis does
// not, and a hung Redis holds a caller for 5 s), gives up soon, and never repeats a command by itself. Give it to nobody
// else: waiters of the business's pool must not stand in the way of a renewal. One address is a single server, several
// are the seeds of a Cluster. The caller closes it, after the Redis that uses it.
func NewClient(addrs []string) redis.UniversalClient {
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs:                 addrs,
		ContextTimeoutEnabled: true,
		DialTimeout:           500 * time.Millisecond,
		DialerRetries:         1,
		ReadTimeout:           500 * time.Millisecond,
		WriteTimeout:          500 * time.Millisecond,
		MaxRetries:            -1,
		PoolSize:              64,
		PoolTimeout:           time.Second,
		DisableIdentity:       true,
		// These are for a vendor's cloud; a plain Redis answers the handshake with an error, one round trip later.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// Redis is the Locker on one Redis: a single server, or a Cluster of which it uses one slot.
type Redis struct {
	locker  *locker
	backend *redisBackend
}

var _ Locker = (*Redis)(nil)

// NewRedis returns a Locker that uses the client, which should come from [NewClient]. It asks Redis nothing yet. It refuses
// options that cannot work and clients that would ignore deadlines or repeat commands, and names the value.
func NewRedis(client redis.UniversalClient, opts ...Option) (*Redis, error) {
	set, err := newSettings(opts)
	if err != nil {
		return nil, err
	}
	if err := checkClient(client); err != nil {
		return nil, err
	}
	b := &redisBackend{
		client: client, set: set,
		acquire: redis.NewScript(acquireLua), extend: redis.NewScript(extendLua),
		release: redis.NewScript(releaseLua), raise: redis.NewScript(raiseLua),
	}
	return &Redis{locker: newLocker(b, set), backend: b}, nil
}

func checkClient(client redis.UniversalClient) error {
	var deadlines bool
	var retries int
	switch c := client.(type) {
	case nil:
		return errors.New("lock: client is nil")
	case *redis.Client:
		deadlines, retries = c.Options().ContextTimeoutEnabled, c.Options().MaxRetries
	case *redis.ClusterClient:
		deadlines, retries = c.Options().ContextTimeoutEnabled, c.Options().MaxRetries
	default:
		return fmt.Errorf("lock: client is a %T, which has no single place for a key", client)
	}
	if !deadlines {
		return errors.New("lock: client has ContextTimeoutEnabled false: a hung Redis would outlast every deadline")
	}
	if retries > 0 {
		return fmt.Errorf("lock: client has MaxRetries %d: a repeated command would outlast its lease", retries)
	}
	return nil
}

// Try implements [Locker]: one attempt, which does not queue behind this process's waiters. It returns ErrHeld,
// ErrUnavailable, ErrKeys, ErrClosed or ctx.Err(), to be told apart with errors.Is.
func (r *Redis) Try(ctx context.Context, keys ...string) (*Lease, error) {
	return r.locker.Try(ctx, keys...)
}

// Acquire implements [Locker]. This process's waiters for a key take turns in the order in which they came; between
// processes there is no order. It returns ctx.Err(), ErrUnavailable after three attempts in a row without an answer,
// ErrKeys, or ErrClosed, to be told apart with errors.Is.
func (r *Redis) Acquire(ctx context.Context, keys ...string) (*Lease, error) {
	return r.locker.Acquire(ctx, keys...)
}

// Raise lifts the token counter of a key to at least atLeast and never lowers it. Call it with the newest token that the
// resource has seen when the resource refuses yours as stale: Redis has lost its counter, and every token would be
// refused until it has caught up. It returns ErrUnavailable, ctx.Err(), or an error that names a value out of range.
func (r *Redis) Raise(ctx context.Context, key string, atLeast int64) error {
	if key == "" {
		return ErrKeys
	}
	if atLeast < 0 || atLeast > maxToken {
		return fmt.Errorf("lock: token %d of %q is not between 0 and 2^53", atLeast, key)
	}
	call, cancel := context.WithTimeout(ctx, r.backend.set.callTimeout())
	defer cancel()
	err := r.backend.raise.Run(call, r.backend.client, []string{r.backend.fenceName(key)}, atLeast).Err()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("raise token of %q: %w", key, ctx.Err())
	default:
		return fmt.Errorf("raise token of %q: %w", key, unavailable(err))
	}
}

// Close ends waits with ErrClosed, stops the subscription, and returns when no goroutine of it runs any more. Leases live
// on until they are released. It may be called twice. It does not close the client.
func (r *Redis) Close() error {
	r.locker.close()
	return nil
}
