package explore

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts by it
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// client opens a client of the actor's own on c's server.
func (h *Handle) client(c *redis.Client) *redis.Client {
	o := *c.Options()
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.MinIdleConns, o.MaxRetries = 0, -1 // a command is one step
	own := redis.NewClient(&o)
	own.AddHook(&hook{h: h, watch: c})
	h.opened(own)
	return own
}

// hook makes each command of a client a step.
type hook struct {
	h     *Handle
	watch *redis.Client
}

var _ redis.Hook = (*hook)(nil)

// DialHook implements redis.Hook.
func (k *hook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements redis.Hook.
func (k *hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if greets(cmd) {
			return next(ctx, cmd)
		}
		if missing, err := k.lacksScript(ctx, cmd); missing || err != nil {
			cmd.SetErr(err)
			return err
		}
		r := request{kind: Redis, does: k.h.a.play.scripts.show(cmd), mayWait: blocks(cmd)}
		r.do = func(ctx context.Context) (o outcome) {
			o.err = next(ctx, cmd)
			o.result, o.failed = redisResult(cmd, o.err)
			return o
		}
		err := k.h.act(ctx, r)
		if err != nil && cmd.Err() == nil {
			cmd.SetErr(err)
		}
		return err
	}
}

// ProcessPipelineHook implements redis.Hook.
func (k *hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if !slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return !greets(c) }) {
			return next(ctx, cmds)
		}
		var does []string
		for _, cmd := range cmds {
			does = append(does, k.h.a.play.scripts.show(cmd))
		}
		r := request{kind: Redis, does: strings.Join(does, "; ")}
		r.do = func(ctx context.Context) (o outcome) {
			o.err = next(ctx, cmds)
			var results []string
			for _, cmd := range cmds {
				result, failed := redisResult(cmd, cmd.Err())
				results = append(results, result)
				o.failed = o.failed || failed
			}
			o.result = strings.Join(results, "; ")
			return o
		}
		err := k.h.act(ctx, r)
		for _, cmd := range cmds {
			if err != nil && cmd.Err() == nil && (errors.Is(err, ErrDied) || errors.Is(err, errOver)) {
				cmd.SetErr(err)
			}
		}
		return err
	}
}

// greets reports a command that the client sends by itself when it connects.
func greets(cmd redis.Cmder) bool {
	return slices.Contains([]string{"hello", "client", "auth", "select"}, strings.ToLower(cmd.Name()))
}

// blocks reports a command that may wait for another client.
func blocks(cmd redis.Cmder) bool {
	name := strings.ToLower(cmd.Name())
	return strings.HasPrefix(name, "b") && name != "bitcount" && name != "bitop" && name != "bitpos" && name != "bitfield" ||
		name == "wait" || name == "xread" || name == "xreadgroup"
}

// lacksScript answers an EVALSHA of a script that the server lacks, so that the EVAL that follows is the one step. The
// first run would have more steps than the others otherwise.
func (k *hook) lacksScript(ctx context.Context, cmd redis.Cmder) (bool, error) {
	if !strings.EqualFold(cmd.Name(), "evalsha") || len(cmd.Args()) < 2 || k.h.isDead() {
		return false, nil
	}
	if !k.h.a.play.scripts.knows(fmt.Sprint(cmd.Args()[1])) {
		return true, noScript{} // so that its text, with its name, is seen
	}
	known, err := k.watch.ScriptExists(ctx, fmt.Sprint(cmd.Args()[1])).Result()
	if err != nil {
		return false, err
	}
	if known[0] {
		return false, nil
	}
	return true, noScript{}
}

// noScript is the server's answer.
type noScript struct{}

// Error implements error.
func (noScript) Error() string { return "NOSCRIPT No matching script. Please use EVAL." }

// RedisError implements redis.Error.
func (noScript) RedisError() {}

// scripts are the names of the scripts that were seen, by their sums. Actors use it at the same time.
type scripts struct {
	mu    sync.Mutex
	names map[string]string
}

func (s *scripts) knows(sum string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.names[sum]
	return known
}

// show returns a command as a step shows it.
func (s *scripts) show(cmd redis.Cmder) string {
	args := cmd.Args()
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = fmt.Sprint(arg)
		if b, ok := arg.([]byte); ok {
			words[i] = string(b)
		}
	}
	words[0] = strings.ToUpper(words[0])
	if words[0] != "EVAL" && words[0] != "EVALSHA" || len(words) < 3 {
		return strings.Join(words, " ")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name, known := s.names[words[1]]
	if !known && words[0] == "EVAL" {
		sum := sha1.Sum([]byte(words[1])) //nolint:gosec // Redis names scripts by it
		name = scriptName(words[1])
		s.names[words[1]], s.names[hex.EncodeToString(sum[:])] = name, name
	}
	if name == "" {
		name = words[1][:min(len(words[1]), 8)]
	}
	return strings.Join(append([]string{"EVAL", name}, words[3:]...), " ")
}

// scriptName returns the text of the script's first comment, or its first line.
func scriptName(script string) string {
	var first string
	for line := range strings.SplitSeq(script, "\n") {
		line = strings.TrimSpace(line)
		if comment, ok := strings.CutPrefix(line, "--"); ok && strings.TrimSpace(comment) != "" {
			return strings.TrimSpace(comment)
		}
		if first == "" {
			first = line
		}
	}
	return first
}

// redisResult returns what a command returned.
func redisResult(cmd redis.Cmder, err error) (text string, failed bool) {
	switch {
	case errors.Is(err, redis.Nil):
		return "nil", false
	case err != nil:
		return "error: " + err.Error(), true
	}
	if full, ok := cmd.(interface{ Val() any }); ok { // EVAL and Do
		return fmt.Sprint(full.Val()), false
	}
	// Every other command has a Val of its own type; its text is "command: value".
	_, value, _ := strings.Cut(cmd.String(), ": ")
	return value, false
}
