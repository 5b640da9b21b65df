package lock

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// Mutation breaks a lock on Redis in one place. It lives in this package because what it breaks is not exported; the
// tests that run mutants are outside.
type Mutation func(*redisBackend) backend

// NewMutant is NewRedis with a mutation.
func NewMutant(break_ Mutation, client redis.UniversalClient, opts ...Option) (*Redis, error) {
	r, err := NewRedis(client, opts...)
	if err != nil {
		return nil, err
	}
	r.locker = newLocker(break_(r.backend), r.set)
	return r, nil
}

// ReleaseWithoutCompare deletes the keys, also those of another owner.
func ReleaseWithoutCompare(b *redisBackend) backend {
	b.scripts.release = redis.NewScript(`
		for i = 1, #KEYS do
			redis.call("DEL", KEYS[i])
			redis.call("PUBLISH", ARGV[2], KEYS[i])
		end
		return 1`)
	return b
}

// TrustReply is a watchdog that believes in the lease until an extend's reply says otherwise, however long that takes.
func TrustReply(b *redisBackend) backend {
	return mutatedClaims{b, func(settings) time.Time { return time.Now().Add(time.Hour) }}
}

// CountFromReply counts a lease from the moment of the answer and not from before the command was sent.
func CountFromReply(b *redisBackend) backend {
	return mutatedClaims{b, func(set settings) time.Time { return time.Now().Add(set.ttl - set.drift()) }}
}

// mutatedClaims changes until when a grant or an extend is believed.
type mutatedClaims struct {
	*redisBackend
	until func(settings) time.Time
}

func (m mutatedClaims) claim(keys []string, set settings) claim {
	return mutatedClaim{m.redisBackend.claim(keys, set), func() time.Time { return m.until(set) }}
}

type mutatedClaim struct {
	claim
	until func() time.Time
}

func (c mutatedClaim) take(ctx context.Context) (grant, error) {
	g, err := c.claim.take(ctx)
	g.until = c.until()
	return g, err
}

func (c mutatedClaim) extend(ctx context.Context, ttl time.Duration) (time.Time, error) {
	_, err := c.claim.extend(ctx, ttl)
	return c.until(), err
}
