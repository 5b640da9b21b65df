package lock

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// Mutation breaks a lock on Redis in one place. It lives in this package because what it breaks is not exported; the tests
// that run mutants are outside.
type Mutation func(*redisBackend) backend

// NewMutant is NewRedis with a mutation.
func NewMutant(break_ Mutation, client redis.UniversalClient, opts ...Option) (*Redis, error) {
	r, err := NewRedis(client, opts...)
	if err != nil {
		return nil, err
	}
	r.locker = newLocker(break_(r.backend), r.backend.set)
	return r, nil
}

// ReleaseWithoutCompare deletes the keys whoever holds them.
func ReleaseWithoutCompare(b *redisBackend) backend {
	b.release = redis.NewScript(`
		for i = 1, #KEYS do
			redis.call("DEL", KEYS[i])
			redis.call("PUBLISH", ARGV[2], KEYS[i])
		end
		return 1`)
	return b
}

// TrustReply is a watchdog that believes in the lease until an extend's reply says otherwise, however long that takes.
func TrustReply(b *redisBackend) backend {
	return mutatedClaims{b, func(time.Time) time.Time { return time.Now().Add(time.Hour) }}
}

// CountFromReply counts a lease from the moment of the answer and not from before the command was sent.
func CountFromReply(b *redisBackend) backend {
	return mutatedClaims{b, func(time.Time) time.Time { return time.Now().Add(b.set.ttl - b.set.drift()) }}
}

// mutatedClaims changes until when a grant or an extend is believed.
type mutatedClaims struct {
	*redisBackend
	until func(time.Time) time.Time
}

func (m mutatedClaims) claim(keys []string, set settings) claim {
	return mutatedClaim{m.redisBackend.claim(keys, set), m.until}
}

type mutatedClaim struct {
	claim
	until func(time.Time) time.Time
}

func (c mutatedClaim) take(ctx context.Context, patience time.Duration) (grant, error) {
	g, err := c.claim.take(ctx, patience)
	g.until = c.until(g.until)
	return g, err
}

func (c mutatedClaim) extend(ctx context.Context, ttl time.Duration) (time.Time, error) {
	until, err := c.claim.extend(ctx, ttl)
	return c.until(until), err
}
