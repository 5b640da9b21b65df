package lock

import (
	"context"
	_ "embed" // for the scripts
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/acquire.lua
var acquireLua string

//go:embed scripts/extend.lua
var extendLua string

//go:embed scripts/release.lua
var releaseLua string

//go:embed scripts/raise.lua
var raiseLua string

// redisBackend names the keys and runs the scripts, on one node or, for Redlock, on several.
//
// For the prefix "p:" and the key "k" the lock is {p:}key:k, its token counter {p:}fence:k, and the channel {p:}freed.
// The kind stands before the key so that no key can spell another's counter; what is in the first pair of braces decides
// the Cluster slot, so that braces in a key do no harm.
type redisBackend struct {
	clients                         []redis.UniversalClient
	quorum                          int
	fenced                          bool // each acquisition draws tokens
	set                             settings
	acquire, extend, release, raise *redis.Script
	behind                          *background // commands to nodes that were too slow
}

var _ backend = (*redisBackend)(nil)

func newRedisBackend(set settings, clients ...redis.UniversalClient) *redisBackend {
	return &redisBackend{
		clients: clients, quorum: len(clients)/2 + 1, set: set,
		acquire: redis.NewScript(acquireLua), extend: redis.NewScript(extendLua),
		release: redis.NewScript(releaseLua), raise: redis.NewScript(raiseLua),
		behind: &background{},
	}
}

func (b *redisBackend) lockName(key string) string  { return "{" + b.set.prefix + "}key:" + key }
func (b *redisBackend) fenceName(key string) string { return "{" + b.set.prefix + "}fence:" + key }
func (b *redisBackend) channel() string             { return "{" + b.set.prefix + "}freed" }

func (b *redisBackend) claim(keys []string) claim { return newRedisClaim(b, keys) }

// listen implements backend with one subscription on each node to one channel for all keys: each process hears of every
// release, a message of some tens of bytes, and never has to subscribe while a waiter waits. With several nodes the first
// message wakes: a lock is freed on all of them at about the same time, and one of them may be down. go-redis connects
// again by itself.
func (b *redisBackend) listen(on listener) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	stops := make([]func() error, len(b.clients))
	for i, client := range b.clients {
		sub := client.Subscribe(ctx)
		stops[i] = sub.Close
		done.Go(func() { b.hear(ctx, sub, on) })
	}
	return func() {
		cancel()
		for _, stop := range stops {
			_ = stop() // closes the channel; twice is an error that says nothing
		}
		done.Wait()
	}
}

func (b *redisBackend) hear(ctx context.Context, sub *redis.PubSub, on listener) {
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
}
