package lock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
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
	set     settings
	keys    []string // the caller's
	locks   []string // their names in Redis
	owner   string   // shared by all attempts, so that one whose answer was lost is recognised
	tries   int
	line    *line // the place among the waiters of all processes; nil where there are no tickets
	mutex   *redsync.Mutex
	ttl     time.Duration // of the extend under way

	// What the nodes say to the command under way.
	taking, extending, freeing *round
}

var _ claim = (*redisClaim)(nil)

func newRedisClaim(b *redisBackend, keys []string, set settings) *redisClaim {
	c := &redisClaim{backend: b, set: set, keys: keys, owner: rand.Text()}
	for _, key := range keys {
		c.locks = append(c.locks, b.lockName(key))
	}
	if b.fenced {
		c.line = newLine(b, keys)
	}
	nodes := make([]redsyncredis.Pool, len(b.clients))
	for i, client := range b.clients {
		nodes[i] = &redisNode{claim: c, index: i, client: client}
	}
	c.mutex = redsync.New(nodes...).NewMutex(strings.Join(keys, " "),
		redsync.WithExpiry(set.ttl),
		redsync.WithTries(1), // waiting is ours: redsync sleeps for a random time and gives up after 32 tries
		redsync.WithDriftFactor(driftFactor),
		redsync.WithTimeoutFactor(float64(set.callTimeout()+set.replicasWait)/float64(set.ttl)),
		redsync.WithGenValueFunc(c.nextValue),
	)
	return c
}

// nextValue gives each attempt a value of its own: the clean-up after one attempt may be held up on its way, and must
// then not delete what a later attempt of the same claim got.
func (c *redisClaim) nextValue() (string, error) {
	c.tries++
	value := c.owner + ":" + strconv.Itoa(c.tries)
	if c.set.metadata != "" {
		value += ":" + c.set.metadata
	}
	return value, nil
}

func (c *redisClaim) newRound(patience int) *round {
	return newRound(len(c.backend.clients), c.backend.quorum, patience)
}

// take implements claim.
func (c *redisClaim) take(ctx context.Context, patience time.Duration) (grant, error) {
	c.line.attempt(patience > 0)
	c.taking, c.freeing = c.newRound(takePatience), c.newRound(cleanUpPatience)
	err := c.mutex.TryLockContext(ctx)
	if err == nil {
		c.backend.checked.Store(true)
		return grant{until: c.mutex.Until(), token: c.taking.token()}, nil
	}
	if old := c.taking.oldVersion(); old != "" {
		return grant{}, fmt.Errorf("%w: %s", ErrOldVersion, old)
	}
	if held := c.taking.held(); held != nil {
		held.kept = c.line.refused(c.taking.ticket(), c.set)
		return grant{}, held
	}
	return grant{}, unavailable(err)
}

// extend implements claim.
func (c *redisClaim) extend(ctx context.Context, ttl time.Duration) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, c.set.callTimeout())
	defer cancel()
	c.ttl, c.extending = ttl, c.newRound(fullPatience)
	ok, err := c.mutex.ExtendContext(ctx)
	var taken *redsync.ErrTaken
	switch {
	case ok: // redsync counts with the whole TTL
		return c.mutex.Until().Add(ttl - c.set.ttl), nil
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

// giveUp implements claim. If Redis does not answer, the keeps lapse.
func (c *redisClaim) giveUp(ctx context.Context) {
	if !c.line.kept() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.set.callTimeout())
	defer cancel()
	b := c.backend
	_ = b.run(ctx, b.clients[0], b.giveUp, slices.Concat(c.locks, c.line.keeps), c.owner, b.channel()).Err()
}
