package lock

import (
	"context"
	_ "embed" // for the scripts
	"strings"
	"sync"
	"sync/atomic"

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

//go:embed scripts/giveup.lua
var giveUpLua string

//go:embed scripts/holder.lua
var holderLua string

// redisBackend names the keys and runs the scripts, on one node or, for Redlock, on several.
//
// For the prefix "p:" and the key "k" the lock is {p:}key:k and its keep {p:}keep:k. The prefix has one fencing counter,
// {p:}fence, one ticket counter, {p:}ticket, and one channel, {p:}freed.
// The kind stands before the key so that no key can spell another name; what is in the first pair of braces decides the
// Cluster slot, so that braces in a key do no harm.
type redisBackend struct {
	clients []redis.UniversalClient
	quorum  int
	fenced  bool // each acquisition draws a token, and waiters draw tickets
	set     settings
	checked atomic.Bool // no counter of an older version was found
	behind  *background // commands to nodes that were too slow

	acquire, extend, release, raise, giveUp, holder *redis.Script
}

var _ backend = (*redisBackend)(nil)

func newRedisBackend(set settings, clients ...redis.UniversalClient) *redisBackend {
	return &redisBackend{
		clients: clients, quorum: len(clients)/2 + 1, set: set, behind: &background{},
		acquire: redis.NewScript(acquireLua), extend: redis.NewScript(extendLua), release: redis.NewScript(releaseLua),
		raise: redis.NewScript(raiseLua), giveUp: redis.NewScript(giveUpLua), holder: redis.NewScript(holderLua),
	}
}

func (b *redisBackend) lockName(key string) string { return "{" + b.set.prefix + "}key:" + key }
func (b *redisBackend) keepName(key string) string { return "{" + b.set.prefix + "}keep:" + key }
func (b *redisBackend) fenceName() string          { return "{" + b.set.prefix + "}fence" }
func (b *redisBackend) ticketName() string         { return "{" + b.set.prefix + "}ticket" }
func (b *redisBackend) channel() string            { return "{" + b.set.prefix + "}freed" }

// oldFenceName is the counter that the version before had for each key.
func (b *redisBackend) oldFenceName(key string) string { return "{" + b.set.prefix + "}fence:" + key }

// check implements backend.
func (b *redisBackend) check(set settings) error {
	if !b.fenced {
		return set.refuseReplicas("Redlock")
	}
	return nil
}

func (b *redisBackend) claim(keys []string, set settings) claim { return newRedisClaim(b, keys, set) }

// run runs a script on one of the clients, or on one of its connections.
func (b *redisBackend) run(ctx context.Context, client scripter, script *redis.Script, keys []string, args ...any) *redis.Cmd {
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
type once struct{ scripter }

// scripter is a client or a connection.
type scripter interface {
	redis.Scripter
	Process(ctx context.Context, cmd redis.Cmder) error
}

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
