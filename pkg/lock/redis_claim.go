package lock

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

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

// claim implements backend.
func (b *redisBackend) claim(keys []string, set settings) claim {
	return &redisClaim{
		backend: b, set: set, locks: b.names.locks(keys), owner: rand.Text(), tickets: newTickets(b.names, keys, !b.checked.Load()),
	}
}

// redisClaim is one acquisition on one Redis.
type redisClaim struct {
	backend  *redisBackend
	set      settings
	locks    []string // the names of the keys in Redis
	owner    string   // common to all attempts, so that the script recognises an attempt whose reply was lost
	attempts int
	tickets  *tickets

	value      string    // what the last attempt stores in each lock
	until      time.Time // the locks live at least until then
	unanswered bool      // a release of value had no answer and may have been carried out
}

var _ claim = (*redisClaim)(nil)

// take implements claim: the acquire script takes all locks or none, in one round trip.
func (c *redisClaim) take(ctx context.Context) (grant, error) {
	c.tickets.prepare()
	c.nextValue()
	sent := time.Now() // the lease counts from here: Redis sets the TTL later than this
	reply, err := c.acquire(ctx)
	switch {
	case err != nil: // the script may have been run
		c.cleanUp(ctx)
		return grant{}, unavailable(err)
	case reply.oldVersion != "":
		return grant{}, fmt.Errorf("%w: %s", ErrOldVersion, reply.oldVersion)
	case !reply.granted:
		return grant{}, &heldError{left: reply.left, kept: c.tickets.refused(reply.ticket, c.set)}
	}
	c.backend.checked.Store(true)
	c.until = sent.Add(c.set.ttl - c.set.drift())
	return grant{until: c.until, token: reply.token}, nil
}

// nextValue gives each attempt a value of its own: the clean-up after one attempt may be delayed, and must then not delete
// what a later attempt of the same claim took.
func (c *redisClaim) nextValue() {
	c.attempts++
	c.value, c.unanswered = lockValue(c.owner, c.attempts, c.set.metadata), false
}

// lockValue is what a lock contains: owner ":" attempt [":" metadata].
func lockValue(owner string, attempt int, metadata string) string {
	value := owner + ":" + strconv.Itoa(attempt)
	if metadata != "" {
		value += ":" + metadata
	}
	return value
}

func (c *redisClaim) acquire(ctx context.Context) (acquireReply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.set.callTimeout()+c.set.replicasWait)
	defer cancel()
	keys := slices.Concat(c.locks, c.tickets.names())
	args := []any{c.value, c.owner, c.set.ttl.Milliseconds(), len(c.locks), c.tickets.number, c.set.keepTime().Milliseconds()}
	if c.set.replicas == 0 {
		return parseAcquire(run(ctx, c.backend.client, c.backend.scripts.acquire, keys, args...))
	}
	conn, err := connection(ctx, c.backend.client, c.locks[0])
	if err != nil {
		return acquireReply{}, err
	}
	defer func() { _ = conn.Close() }() // returns it to the pool
	reply, err := parseAcquire(run(ctx, conn, c.backend.scripts.acquire, keys, args...))
	if err == nil && reply.granted {
		err = waitReplicas(ctx, conn, c.set)
	}
	return reply, err
}

// cleanUp deletes what an attempt without an answer may have taken. If that fails, the locks expire.
func (c *redisClaim) cleanUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.set.callTimeout())
	defer cancel()
	_, _ = c.release(ctx)
}

// extend implements claim.
func (c *redisClaim) extend(ctx context.Context, ttl time.Duration) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, c.set.callTimeout())
	defer cancel()
	sent := time.Now()
	extended, err := run(ctx, c.backend.client, c.backend.scripts.extend, c.locks, c.value, ttl.Milliseconds()).Int64()
	switch {
	case err != nil:
		return time.Time{}, unavailable(err)
	case extended == 0:
		return time.Time{}, fmt.Errorf("%w: the key is gone or another owner's", ErrLost)
	}
	c.until = sent.Add(ttl - c.set.drift())
	return c.until, nil
}

// drop implements claim. A release without an answer is repeated once, so that a connection that broke does not block
// others for the whole TTL.
func (c *redisClaim) drop(ctx context.Context) error {
	freed, err := c.release(ctx)
	if err != nil {
		freed, err = c.release(ctx)
	}
	switch {
	case err != nil:
		return unavailable(err)
	case !freed:
		return fmt.Errorf("%w: a key was gone or another owner's at the end", ErrLost)
	}
	return nil
}

// release runs the release script and reports whether all locks were the claim's. A lock that is not, though it cannot have
// expired yet, was freed by an earlier release without an answer; if it is another owner's now, a waiter has taken it.
func (c *redisClaim) release(ctx context.Context) (freed bool, err error) {
	valid := time.Now().Before(c.until)
	reply, err := run(ctx, c.backend.client, c.backend.scripts.release, c.locks, c.value, c.backend.names.channel()).Int64()
	if err != nil {
		c.unanswered = true
		return false, err
	}
	return reply == releasedAll || c.unanswered && valid, nil
}

// giveUp implements claim. If Redis does not answer, the keeps expire.
func (c *redisClaim) giveUp(ctx context.Context) {
	if !c.tickets.drawn() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.set.callTimeout())
	defer cancel()
	b := c.backend
	_ = run(ctx, b.client, b.scripts.giveUp, slices.Concat(c.locks, c.tickets.keeps), c.owner, b.names.channel()).Err()
}
