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
// sent, drift off), asks all nodes at once, counts the quorum, and cleans up after an attempt that failed; it believes that
// its mutex is one key. A redisNode beneath it maps that one name to all keys: each node gives all of them or none, so
// that a majority for one key is a majority for all, and no claim holds one key while it waits for another.
type redisClaim struct {
	backend *redisBackend
	keys    []string // the caller's
	locks   []string // their names in Redis
	fences  []string // their token counters; empty where there are none
	nexts   []string // who is next for them; empty where nobody is
	waiter  string   // in the attempt under way: this process, if it waits
	owner   string   // shared by all attempts, so that one whose answer was lost is recognised
	tries   int
	mutex   *redsync.Mutex
	ttl     time.Duration // of the extend under way

	// What the nodes say to the command under way.
	taking, extending, freeing *round
}

var _ claim = (*redisClaim)(nil)

func newRedisClaim(b *redisBackend, keys []string) *redisClaim {
	c := &redisClaim{backend: b, keys: keys, owner: b.waiter + "." + rand.Text()}
	for _, key := range keys {
		c.locks = append(c.locks, b.lockName(key))
		if b.fenced {
			c.fences = append(c.fences, b.fenceName(key))
			c.nexts = append(c.nexts, b.nextName(key))
		}
	}
	nodes := make([]redsyncredis.Pool, len(b.clients))
	for i, client := range b.clients {
		nodes[i] = &redisNode{claim: c, index: i, client: client}
	}
	c.mutex = redsync.New(nodes...).NewMutex(strings.Join(keys, " "),
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

func (c *redisClaim) newRound(patience int) *round {
	return newRound(len(c.backend.clients), c.backend.quorum, patience)
}

// take implements claim.
func (c *redisClaim) take(ctx context.Context, patience time.Duration) (grant, error) {
	c.waiter = ""
	if patience > 0 {
		c.waiter = c.backend.waiter
	}
	c.taking, c.freeing = c.newRound(takePatience), c.newRound(cleanUpPatience)
	err := c.mutex.TryLockContext(ctx)
	if err == nil {
		return grant{until: c.mutex.Until(), tokens: c.taking.tokens(c.keys)}, nil
	}
	if held := c.taking.held(); held != nil {
		return grant{}, held
	}
	return grant{}, unavailable(err)
}

// extend implements claim.
func (c *redisClaim) extend(ctx context.Context, ttl time.Duration) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, c.backend.set.callTimeout())
	defer cancel()
	c.ttl, c.extending = ttl, c.newRound(fullPatience)
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
	var err error
	for range 2 {
		c.freeing = c.newRound(fullPatience)
		_, err = c.mutex.UnlockContext(ctx)
		freed, gone := c.freeing.count()
		switch {
		case freed >= c.backend.quorum:
			return nil
		case gone >= c.backend.quorum:
			return fmt.Errorf("%w: a key was gone or another owner's at the end", ErrLost)
		}
	}
	return unavailable(err)
}
