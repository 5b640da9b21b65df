package flawed

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/inventory-srv/internal/strategy"
)

// handLock is the lock that everybody writes once: SET NX to take it, DEL to give it back.
type handLock struct {
	client redis.UniversalClient
	prefix string
	ttl    time.Duration
}

// handTTL is long beside a reserve and short beside a test. The course's is eight seconds.
const handTTL = 3 * time.Second

func (d Deps) handLock() handLock { return handLock{d.Redis, d.Prefix, handTTL} }

func (l handLock) key(sku string) string { return l.prefix + strategy.LockKey(sku) }

// lock tries until it has the key or ctx ends.
func (l handLock) lock(ctx context.Context, sku string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := l.client.SetNX(ctx, l.key(sku), "locked", l.ttl).Result()
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// unlock deletes the key, whoever has it.
func (l handLock) unlock(ctx context.Context, sku string) error {
	return l.client.Del(context.WithoutCancel(ctx), l.key(sku)).Err()
}
