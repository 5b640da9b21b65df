package lock

import (
	"context"
	_ "embed" // for the scripts
	"fmt"
	"strings"
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

//go:embed scripts/giveup.lua
var giveUpLua string

//go:embed scripts/holder.lua
var holderLua string

// scripts are the Lua programs that Redis and Redlock run.
type scripts struct{ acquire, extend, release, raise, giveUp, holder *redis.Script }

func newScripts() scripts {
	return scripts{
		acquire: redis.NewScript(acquireLua), extend: redis.NewScript(extendLua), release: redis.NewScript(releaseLua),
		raise: redis.NewScript(raiseLua), giveUp: redis.NewScript(giveUpLua), holder: redis.NewScript(holderLua),
	}
}

// What the release script returns.
const (
	releasedAll     = 1
	releasedForeign = 0
	releasedGone    = -1
)

// acquireReply is what the acquire script returns.
type acquireReply struct {
	granted    bool
	token      int64
	left       time.Duration // of the key in the way, negative when it never expires
	owner      string        // of that key
	ticket     int64         // of the claim that was refused, 0 when it has none
	oldVersion string        // what the script found of an older version
}

// parseAcquire reads {1, token}, {0, milliseconds, value, ticket} or {-1, name}.
func parseAcquire(cmd *redis.Cmd) (acquireReply, error) {
	parts, err := cmd.Slice()
	if err != nil {
		return acquireReply{}, err
	}
	numbers := make([]int64, 4)
	var text string
	for i, part := range parts[:min(len(parts), len(numbers))] {
		switch part := part.(type) {
		case int64:
			numbers[i] = part
		case string:
			text = part
		}
	}
	switch {
	case len(parts) == 4 && numbers[0] == 0:
		owner, _, _ := strings.Cut(text, ":")
		if strings.Contains(owner, ".") { // an older version stored process "." claim; owners of this version have no dot
			return acquireReply{oldVersion: "held by " + owner}, nil
		}
		return acquireReply{left: time.Duration(numbers[1]) * time.Millisecond, owner: owner, ticket: numbers[3]}, nil
	case len(parts) == 2 && numbers[0] == 1:
		return acquireReply{granted: true, token: numbers[1]}, nil
	case len(parts) == 2 && numbers[0] == -1:
		return acquireReply{oldVersion: "counter " + text}, nil
	}
	return acquireReply{}, fmt.Errorf("acquire script returned %v", parts)
}

// run runs a script on a client or on one of its connections. No command is sent twice.
func run(ctx context.Context, client scripter, script *redis.Script, keys []string, args ...any) *redis.Cmd {
	return script.Run(ctx, withoutRetry{client}, keys, args...)
}

// scripter is a client or a connection.
type scripter interface {
	redis.Scripter
	Process(ctx context.Context, cmd redis.Cmder) error
}

// withoutRetry sends each script once. A Cluster's client repeats a command whose connection broke whatever its
// MaxRetries: go-redis turns that option into MaxRedirects, which a Cluster needs. If a release was carried out before
// the break, its repetition would be answered "gone" and be taken for a loss.
type withoutRetry struct{ scripter }

// Eval implements redis.Scripter.
func (w withoutRetry) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return w.send(ctx, "eval", script, keys, args)
}

// EvalSha implements redis.Scripter.
func (w withoutRetry) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return w.send(ctx, "evalsha", sha, keys, args)
}

func (w withoutRetry) send(ctx context.Context, name, script string, keys []string, args []any) *redis.Cmd {
	words := append(make([]any, 0, 3+len(keys)+len(args)), name, script, len(keys))
	for _, key := range keys {
		words = append(words, key)
	}
	cmd := redis.NewCmd(ctx, append(words, args...)...)
	cmd.SetFirstKeyPos(3)                        // the Cluster's client finds the node by it
	_ = w.Process(ctx, commandWithoutRetry{cmd}) // cmd holds the error, too
	return cmd
}

// commandWithoutRetry is a command that go-redis does not repeat.
type commandWithoutRetry struct{ *redis.Cmd }

// NoRetry implements redis.Cmder.
func (commandWithoutRetry) NoRetry() bool { return true }
