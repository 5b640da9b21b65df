package lock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
)

// redisClaim is one redsync.Mutex for one set of keys. redsync counts the lease's validity (from before the command was
// sent, drift off), bounds each command, and cleans up after an attempt that failed; it believes that its mutex is one
// key. This type is also the redis.Pool and the redis.Conn beneath it and maps that one name to all keys.
type redisClaim struct {
	backend *redisBackend
	keys    []string // the caller's
	names   []string // the locks in Redis, then their counters
	owner   string   // shared by all attempts, so that one whose answer was lost is recognised
	tries   int
	mutex   *redsync.Mutex

	tokens  map[string]int64 // of the attempt that succeeded
	refused *heldError       // the last attempt's definite answer that the keys are held
	ttl     time.Duration    // of the extend under way
}

var (
	_ claim             = (*redisClaim)(nil)
	_ redsyncredis.Pool = (*redisClaim)(nil)
	_ redsyncredis.Conn = (*redisConn)(nil)
)

func newRedisClaim(b *redisBackend, keys []string) *redisClaim {
	c := &redisClaim{backend: b, keys: keys, owner: rand.Text(), names: make([]string, 0, 2*len(keys))}
	for _, key := range keys {
		c.names = append(c.names, b.lockName(key))
	}
	for _, key := range keys {
		c.names = append(c.names, b.fenceName(key))
	}
	c.mutex = redsync.New(c).NewMutex(strings.Join(keys, " "),
		redsync.WithExpiry(b.set.ttl),
		redsync.WithTries(1), // waiting is ours: redsync sleeps for a random time and gives up after 32 tries
		redsync.WithDriftFactor(driftFactor),
		redsync.WithTimeoutFactor(float64(b.set.callTimeout())/float64(b.set.ttl)),
		redsync.WithGenValueFunc(c.nextValue),
	)
	return c
}

// nextValue gives each attempt a value of its own: the clean-up after one attempt may be held up on its way, and must
// then not delete what a later attempt of the same claim got.
func (c *redisClaim) nextValue() (string, error) {
	c.tries++
	return c.owner + ":" + strconv.Itoa(c.tries), nil
}

func (c *redisClaim) locks() []string { return c.names[:len(c.keys)] }

// take implements claim.
func (c *redisClaim) take(ctx context.Context) (grant, error) {
	c.refused = nil
	err := c.mutex.TryLockContext(ctx)
	switch {
	case err == nil:
		return grant{until: c.mutex.Until(), tokens: c.tokens}, nil
	case c.refused != nil:
		return grant{}, c.refused
	default:
		return grant{}, unavailable(err)
	}
}

// extend implements claim.
func (c *redisClaim) extend(ctx context.Context, ttl time.Duration) (time.Time, error) {
	c.ttl = ttl
	ok, err := c.mutex.ExtendContext(ctx)
	var taken *redsync.ErrTaken
	switch {
	case ok: // redsync counts with the whole TTL
		return c.mutex.Until().Add(ttl - c.backend.set.ttl), nil
	case errors.As(err, &taken):
		return time.Time{}, fmt.Errorf("%w: the key is gone or another owner's", ErrLost)
	default:
		return time.Time{}, unavailable(err)
	}
}

// drop implements claim. An answer that was lost is asked for once more, so that a connection that broke does not block
// others for the whole TTL.
func (c *redisClaim) drop(ctx context.Context) error {
	ok, err := c.mutex.UnlockContext(ctx)
	if answered(ok, err) {
		return freed(ok)
	}
	ok, err = c.mutex.UnlockContext(ctx)
	switch {
	case errors.Is(err, redsync.ErrLockAlreadyExpired) && time.Now().Before(c.mutex.Until()):
		return nil // too early to have expired: the first call freed it
	case answered(ok, err):
		return freed(ok)
	default:
		return unavailable(err)
	}
}

// answered tells redsync's "not freed, because it was not yours" from "Redis did not say".
func answered(ok bool, err error) bool {
	var taken *redsync.ErrTaken
	return ok || errors.As(err, &taken) || errors.Is(err, redsync.ErrLockAlreadyExpired)
}

func freed(ok bool) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%w: a key was gone or another owner's at the end", ErrLost)
}

// Get implements redsync's Pool.
func (c *redisClaim) Get(ctx context.Context) (redsyncredis.Conn, error) {
	return &redisConn{ctx: ctx, claim: c}, nil
}
