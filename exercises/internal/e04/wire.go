package e04

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// cable is a client's way to Redis. When it is cut, all connections are closed, and each new one at once.
type cable struct {
	client *redis.Client

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (c *cable) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.conns = append(c.conns, conn)
	if c.cut {
		_ = conn.Close()
	}
	return conn, nil
}

// sever cuts the cable.
func (c *cable) sever() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// recorder records the commands of the learner's lock as steps.
type recorder struct{ play *play }

// DialHook implements redis.Hook.
func (r recorder) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (r recorder) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return r.observe(ctx, []redis.Cmder{cmd}, func(ctx context.Context) error { return next(ctx, cmd) })
	}
}

// ProcessPipelineHook implements redis.Hook.
func (r recorder) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return r.observe(ctx, cmds, func(ctx context.Context) error { return next(ctx, cmds) })
	}
}

func (r recorder) observe(ctx context.Context, cmds []redis.Cmder, send func(context.Context) error) error {
	if ctx.Value(inside{}) != nil {
		return send(ctx)
	}
	actor := r.play.actor()
	err := send(context.WithValue(ctx, inside{}, true))
	if isUnknownScript(err) {
		return err
	}
	if state, err := r.play.world.look(context.WithoutCancel(ctx)); err == nil {
		r.play.world.mu.Lock()
		r.play.world.stored = state.value
		r.play.world.mu.Unlock()
	}
	for _, cmd := range cmds {
		r.play.record(actor, command(cmd), result(cmd, err))
	}
	return err
}

// command formats a command on one line, as explore does. A script is named by its first comment.
func command(cmd redis.Cmder) string {
	words := []string{strings.ToUpper(cmd.Name())}
	args := cmd.Args()[1:]
	if strings.HasPrefix(words[0], "EVAL") && len(args) > 1 {
		words, args = []string{"EVAL", scriptName(fmt.Sprint(args[0]))}, args[2:]
	}
	for _, arg := range args {
		words = append(words, fmt.Sprint(arg))
	}
	return strings.Join(words, " ")
}

func scriptName(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, "--"))
}

// result formats what Redis has answered, or why there is no answer.
func result(cmd redis.Cmder, failed error) string {
	switch {
	case errors.Is(failed, redis.Nil):
		return "nil"
	case failed != nil:
		return failed.Error()
	}
	switch cmd := cmd.(type) {
	case *redis.Cmd:
		return fmt.Sprint(cmd.Val())
	case *redis.StatusCmd:
		return cmd.Val()
	case *redis.StringCmd:
		return cmd.Val()
	case *redis.IntCmd:
		return fmt.Sprint(cmd.Val())
	case *redis.BoolCmd:
		return fmt.Sprint(cmd.Val())
	}
	return ""
}
