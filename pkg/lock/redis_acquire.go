package lock

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"
)

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

// nextValue gives each attempt a value of its own: the clean-up after one attempt may be delayed, and must then not
// delete what a later attempt of the same claim took.
func (c *redisClaim) nextValue() {
	c.attempts++
	c.value, c.unanswered = lockValue(c.owner, c.attempts, c.set.metadata), false
}

func (c *redisClaim) acquire(ctx context.Context) (acquireReply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.set.callTimeout()+c.set.replicasWait)
	defer cancel()
	keys := slices.Concat(c.locks, c.tickets.names())
	args := []any{c.value, c.owner, c.set.ttl.Milliseconds(), len(c.locks), c.tickets.number, c.set.keepTime().Milliseconds()}
	if c.set.replicas > 0 {
		return c.acquireOnReplicas(ctx, keys, args)
	}
	return parseAcquire(run(ctx, c.backend.client, c.backend.scripts.acquire, keys, args...))
}

// cleanUp deletes what an attempt without an answer may have taken. If that fails, the locks expire.
func (c *redisClaim) cleanUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.set.callTimeout())
	defer cancel()
	_, _ = c.release(ctx)
}
