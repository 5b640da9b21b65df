package lock

import (
	"context"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// names spells what a prefix owns in Redis. For the prefix "p:" and the key "k" the lock is {p:}key:k and its keep is
// {p:}keep:k. The prefix has one fencing counter, {p:}fence, one ticket counter, {p:}ticket, and one channel,
// {p:}freed. The kind stands before the key, so that no key can spell another name. The first pair of braces decides
// the Cluster slot, so that braces in a key do not change it.
type names struct{ prefix string }

func (n names) lock(key string) string { return "{" + n.prefix + "}key:" + key }
func (n names) keep(key string) string { return "{" + n.prefix + "}keep:" + key }
func (n names) fence() string          { return "{" + n.prefix + "}fence" }
func (n names) ticket() string         { return "{" + n.prefix + "}ticket" }
func (n names) channel() string        { return "{" + n.prefix + "}freed" }

// oldFence is the counter that the version before had for each key.
func (n names) oldFence(key string) string { return "{" + n.prefix + "}fence:" + key }

func (n names) locks(keys []string) []string {
	locks := make([]string, len(keys))
	for i, key := range keys {
		locks[i] = n.lock(key)
	}
	return locks
}

// subscribe reports the prefix's freed keys on one server to on. There is one channel for all keys: each process
// receives a message of some tens of bytes for every release, and no waiter has to subscribe first. go-redis reconnects
// by itself.
func subscribe(client redis.UniversalClient, n names, on listener) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	sub := client.Subscribe(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		_ = sub.Subscribe(ctx, n.channel()) // it connects; after an error go-redis subscribes when it reconnects
		prefix := n.lock("")
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
		_ = sub.Close() // closes the channel
		done.Wait()
	}
}
