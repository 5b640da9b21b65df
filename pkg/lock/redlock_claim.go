package lock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/redis/go-redis/v9"
)

// redlockBackend holds the keys on a majority of independent servers.
type redlockBackend struct {
	clients    []redis.UniversalClient
	quorum     int
	names      names
	scripts    scripts
	background *background // commands to nodes that were too slow
}

var _ backend = (*redlockBackend)(nil)

// check implements backend.
func (b *redlockBackend) check(set settings) error { return set.refuseReplicas("Redlock") }

// listen implements backend. The first message wakes: a lock is freed on all nodes at about the same time, and one of
// them may be down.
func (b *redlockBackend) listen(on listener) (stop func()) {
	stops := make([]func(), len(b.clients))
	for i, client := range b.clients {
		stops[i] = subscribe(client, b.names, on)
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// claim implements backend.
func (b *redlockBackend) claim(keys []string, set settings) claim {
	c := &redlockClaim{backend: b, set: set, locks: b.names.locks(keys), owner: rand.Text()}
	nodes := make([]redsyncredis.Pool, len(b.clients))
	for i, client := range b.clients {
		nodes[i] = &redlockNode{claim: c, index: i, client: client}
	}
	c.mutex = redsync.New(nodes...).NewMutex(strings.Join(keys, " "),
		redsync.WithExpiry(set.ttl),
		redsync.WithTries(1), // waiting is ours: redsync sleeps for a random time and gives up after 32 tries
		redsync.WithDriftFactor(driftFactor),
		redsync.WithTimeoutFactor(float64(set.callTimeout())/float64(set.ttl)),
		redsync.WithGenValueFunc(c.nextValue),
	)
	return c
}

// redlockClaim is one redsync.Mutex for one set of keys. redsync counts the lease's validity (from before the command
// was sent, drift off), sends to all nodes at once, counts the quorum, and cleans up after an attempt that failed; it
// takes its mutex for one key. A redlockNode beneath it maps that one name to all keys: each node gives all of them or
// none, so that a majority for one key is a majority for all, and no claim holds one key while it waits for another.
type redlockClaim struct {
	backend  *redlockBackend
	set      settings
	locks    []string // the names of the keys in Redis
	owner    string   // common to all attempts, so that a node recognises an attempt whose reply was lost
	attempts int
	mutex    *redsync.Mutex
	ttl      time.Duration // of the extend under way

	// What the nodes answer to the command under way.
	taking, extending, freeing *round
}

var _ claim = (*redlockClaim)(nil)

// nextValue gives each attempt a value of its own: the clean-up after one attempt may be delayed, and must then not
// delete what a later attempt of the same claim took.
func (c *redlockClaim) nextValue() (string, error) {
	c.attempts++
	return lockValue(c.owner, c.attempts, c.set.metadata), nil
}

func (c *redlockClaim) newRound(patience int) *round {
	return newRound(len(c.backend.clients), c.backend.quorum, patience)
}

// take implements claim.
func (c *redlockClaim) take(ctx context.Context) (grant, error) {
	c.taking, c.freeing = c.newRound(takePatience), c.newRound(cleanUpPatience)
	err := c.mutex.TryLockContext(ctx)
	if err == nil {
		return grant{until: c.mutex.Until()}, nil
	}
	if held := c.taking.held(); held != nil {
		return grant{}, held
	}
	return grant{}, unavailable(err)
}

// extend implements claim.
func (c *redlockClaim) extend(ctx context.Context, ttl time.Duration) (time.Time, error) {
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

// drop implements claim. A release without a decision is repeated once, so that a connection that broke does not block
// others for the whole TTL.
func (c *redlockClaim) drop(ctx context.Context) error {
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

// giveUp implements claim: the nodes keep nothing for waiters.
func (c *redlockClaim) giveUp(context.Context) {}
