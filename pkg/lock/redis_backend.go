package lock

import (
	"context"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// redisBackend names the keys and runs the scripts.
//
// For the prefix "p:" and the key "k" the lock is {p:}key:k, its token counter {p:}fence:k, and the channel {p:}freed.
// The kind stands before the key so that no key can spell another's counter; what is in the first pair of braces decides
// the Cluster slot, so that braces in a key do no harm.
type redisBackend struct {
	client                          redis.UniversalClient
	set                             settings
	acquire, extend, release, raise *redis.Script
}

var _ backend = (*redisBackend)(nil)

func (b *redisBackend) lockName(key string) string  { return "{" + b.set.prefix + "}key:" + key }
func (b *redisBackend) fenceName(key string) string { return "{" + b.set.prefix + "}fence:" + key }
func (b *redisBackend) channel() string             { return "{" + b.set.prefix + "}freed" }

func (b *redisBackend) claim(keys []string) claim { return newRedisClaim(b, keys) }

// listen implements backend with one subscription to one channel for all keys: each process hears of every release, a
// message of some tens of bytes, and never has to subscribe while a waiter waits. go-redis connects again by itself.
func (b *redisBackend) listen(on listener) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	sub := b.client.Subscribe(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		_ = sub.Subscribe(ctx, b.channel()) // here, as it connects; an error is made good when it connects again
		prefix := b.lockName("")
		for message := range sub.ChannelWithSubscriptions() {
			switch m := message.(type) {
			case *redis.Subscription:
				on.ready()
			case *redis.Message:
				on.freed(strings.TrimPrefix(m.Payload, prefix))
			}
		}
	})
	return func() {
		cancel()
		_ = sub.Close() // closes the channel; twice is an error that says nothing
		done.Wait()
	}
}
