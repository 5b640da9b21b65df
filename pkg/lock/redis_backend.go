package lock

import (
	"context"
	"crypto/rand"
	_ "embed" // for the scripts
	"strings"
	"sync"
	"time"

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
// For the prefix "p:" and the key "k" the lock is {p:}key:k, its token counter {p:}fence:k, who is next {p:}next:k, and the
// channel {p:}freed.
// The kind stands before the key so that no key can spell another's counter; what is in the first pair of braces decides
// the Cluster slot, so that braces in a key do no harm.
type redisBackend struct {
	clients                         []redis.UniversalClient
	quorum                          int
	fenced                          bool   // each acquisition draws tokens, and processes take turns
	waiter                          string // this process, among those that wait for the same key
	set                             settings
	acquire, extend, release, raise *redis.Script
	behind                          *background // commands to nodes that were too slow
}

var _ backend = (*redisBackend)(nil)

// turn is for how long a free key is kept for the process that is next: some round trips. It is lost when that process has
// gone.
const turn = 20 * time.Millisecond

func newRedisBackend(set settings, clients ...redis.UniversalClient) *redisBackend {
	return &redisBackend{
		clients: clients, quorum: len(clients)/2 + 1, waiter: rand.Text(), set: set,
		acquire: redis.NewScript(acquireLua), extend: redis.NewScript(extendLua),
		release: redis.NewScript(releaseLua), raise: redis.NewScript(raiseLua),
		behind: &background{},
	}
}

func (b *redisBackend) lockName(key string) string  { return "{" + b.set.prefix + "}key:" + key }
func (b *redisBackend) fenceName(key string) string { return "{" + b.set.prefix + "}fence:" + key }
func (b *redisBackend) nextName(key string) string  { return "{" + b.set.prefix + "}next:" + key }
func (b *redisBackend) channel() string             { return "{" + b.set.prefix + "}freed" }

func (b *redisBackend) claim(keys []string) claim { return newRedisClaim(b, keys) }

// run runs a script on one of the clients.
func (b *redisBackend) run(ctx context.Context, client redis.UniversalClient, script *redis.Script, keys []string, args ...any) *redis.Cmd {
	return script.Run(ctx, once{client}, keys, args...)
}

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

// once sends scripts that are never repeated. A Cluster's client repeats a command whose connection broke whatever its
// MaxRetries, as that knob became MaxRedirects, which it needs; a release that was carried out before the break would then
// be answered "gone", and pass for a loss.
type once struct{ redis.UniversalClient }

// Eval implements redis.Scripter.
func (o once) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return o.send(ctx, "eval", script, keys, args)
}

// EvalSha implements redis.Scripter.
func (o once) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return o.send(ctx, "evalsha", sha, keys, args)
}

func (o once) send(ctx context.Context, name, script string, keys []string, args []any) *redis.Cmd {
	words := append(make([]any, 0, 3+len(keys)+len(args)), name, script, len(keys))
	for _, key := range keys {
		words = append(words, key)
	}
	cmd := redis.NewCmd(ctx, append(words, args...)...)
	cmd.SetFirstKeyPos(3)            // by it the Cluster's client finds the node
	_ = o.Process(ctx, onceCmd{cmd}) // it is in cmd, too
	return cmd
}

// onceCmd is a command that go-redis does not repeat.
type onceCmd struct{ *redis.Cmd }

// NoRetry implements redis.Cmder.
func (onceCmd) NoRetry() bool { return true }
