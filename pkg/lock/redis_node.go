package lock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/redis/go-redis/v9"
)

// redisNode is a claim's keys on one node; for redsync it is the redis.Pool that answers commands for one key with
// scripts over all of them. One command at a time is on its way to the node, and never one to which a later
// one could be overtaken: a delete that passes the set which it should undo leaves an orphan.
type redisNode struct {
	claim  *redisClaim
	index  int
	client redis.UniversalClient

	tail <-chan struct{} // closed when the last command has ended; used by one goroutine at a time

	mu    sync.Mutex
	value string // what our keys may hold there; empty when we know that they hold nothing of ours
	lost  bool   // a delete of value got no answer: it may have been carried out
	freed string // the value whose delete was answered
	code  int64  // that answer
}

var (
	_ redsyncredis.Pool = (*redisNode)(nil)
	_ redsyncredis.Conn = (*redisConn)(nil)
)

// What the release script answers.
const (
	nodeFreed   = 1
	nodeForeign = 0
	nodeGone    = -1
)

// Get implements redsync's Pool.
func (n *redisNode) Get(ctx context.Context) (redsyncredis.Conn, error) {
	return &redisConn{ctx: ctx, node: n}, nil
}

// take runs the acquire script. What it says beyond yes and no is in the answer.
func (n *redisNode) take(ctx context.Context, value string, names []string, ticket int64) (answer, error) {
	c, b, client := n.claim, n.claim.backend, scripter(n.client)
	if c.set.replicas > 0 {
		conn, err := n.connection(ctx)
		if err != nil {
			return answer{}, err
		}
		defer func() { _ = conn.Close() }() // returns it to the pool
		client = conn
	}
	n.locked(func() { n.value, n.lost = value, false })
	reply, err := b.run(ctx, client, b.acquire, slices.Concat(c.locks, names),
		value, c.owner, c.set.ttl.Milliseconds(), len(c.locks), ticket, c.set.keepTime().Milliseconds()).Slice()
	if err != nil {
		return answer{}, err
	}
	a, err := parseTake(reply)
	if err == nil && !a.yes {
		n.locked(func() { n.value = "" })
	}
	if conn, ok := client.(*redis.Conn); ok && a.yes {
		return a, waitReplicas(ctx, conn, c.set)
	}
	return a, err
}

// parseTake reads {1, token}, {0, milliseconds, value, ticket} or {-1, name}.
func parseTake(reply []any) (answer, error) {
	numbers := make([]int64, 4)
	var text string
	for i, part := range reply[:min(len(reply), len(numbers))] {
		switch part := part.(type) {
		case int64:
			numbers[i] = part
		case string:
			text = part
		}
	}
	switch {
	case len(reply) == 4 && numbers[0] == 0:
		owner, _, _ := strings.Cut(text, ":")
		if strings.Contains(owner, ".") { // process "." claim: ours have no dot
			return answer{old: "held by " + owner}, nil
		}
		return answer{left: time.Duration(numbers[1]) * time.Millisecond, owner: owner, ticket: numbers[3]}, nil
	case len(reply) == 2 && numbers[0] == 1:
		return answer{yes: true, token: numbers[1]}, nil
	case len(reply) == 2 && numbers[0] == -1:
		return answer{old: "counter " + text}, nil
	}
	return answer{}, fmt.Errorf("acquire script answered %v", reply)
}

func (n *redisNode) extend(ctx context.Context, value string, ttl time.Duration) (answer, error) {
	c, b := n.claim, n.claim.backend
	reply, err := b.run(ctx, n.client, b.extend, c.locks, value, ttl.Milliseconds()).Int64()
	return answer{yes: reply == 1}, err
}

// free runs the release script, unless it is known what it would answer.
func (n *redisNode) free(ctx context.Context, value string, valid bool) (answer, error) {
	c, b := n.claim, n.claim.backend
	var lost, known bool
	code := int64(nodeForeign) // of a value that was refused here, or never sent
	n.locked(func() {
		lost, known = n.lost, n.value != value
		if n.freed == value {
			code = n.code
		}
	})
	if known {
		return answer{code: code, yes: code == nodeFreed}, nil
	}
	code, err := b.run(ctx, n.client, b.release, c.locks, value, b.channel()).Int64()
	n.locked(func() {
		if n.lost = err != nil; n.lost {
			return
		}
		if lost && valid {
			// Too early to have expired: the delete without an answer freed the keys. One that is another owner's by now
			// went to a waiter.
			code = nodeFreed
		}
		n.value, n.freed, n.code = "", value, code
	})
	return answer{code: code, yes: code == nodeFreed}, err
}

func (n *redisNode) locked(do func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do()
}

// redisConn is a node for the time of one command.
type redisConn struct {
	ctx  context.Context //nolint:containedctx // redsync gives the context to Pool.Get, and none to the commands.
	node *redisNode
}

// SetNX takes all locks or none.
func (c *redisConn) SetNX(_, value string, _ time.Duration) (bool, error) {
	n, names, ticket := c.node, c.node.claim.line.names(), c.node.claim.line.number()
	a, err := n.call(c.ctx, n.claim.taking, false, func(ctx context.Context) (answer, error) {
		return n.take(ctx, value, names, ticket)
	})
	return a.yes, err
}

// Eval runs our delete script for redsync's, which has the value as its only argument, and our extend script for
// redsync's touch, which has the expiry too.
func (c *redisConn) Eval(_ *redsyncredis.Script, keysAndArgs ...any) (any, error) {
	n := c.node
	if len(keysAndArgs) < 2 {
		return nil, fmt.Errorf("unknown script with %d arguments", len(keysAndArgs))
	}
	value, _ := keysAndArgs[1].(string)
	switch len(keysAndArgs) {
	case 2:
		valid := time.Now().Before(n.claim.mutex.Until())
		a, err := n.call(c.ctx, n.claim.freeing, true, func(ctx context.Context) (answer, error) { return n.free(ctx, value, valid) })
		return a.code, err
	case 3:
		ttl := n.claim.ttl
		a, err := n.call(c.ctx, n.claim.extending, false, func(ctx context.Context) (answer, error) { return n.extend(ctx, value, ttl) })
		if a.yes {
			return int64(1), err
		}
		return int64(0), err
	}
	return nil, fmt.Errorf("unknown script with %d arguments", len(keysAndArgs))
}

// Close implements redsync's Conn; go-redis returns connections by itself.
func (c *redisConn) Close() error { return nil }

// The rest of redsync's Conn is for features that are not used here.

// Get returns errors.ErrUnsupported.
func (c *redisConn) Get(string) (string, error) { return "", errors.ErrUnsupported }

// Set returns errors.ErrUnsupported.
func (c *redisConn) Set(string, string) (bool, error) { return false, errors.ErrUnsupported }

// ScriptLoad returns errors.ErrUnsupported.
func (c *redisConn) ScriptLoad(*redsyncredis.Script) error { return errors.ErrUnsupported }

// PTTL returns errors.ErrUnsupported.
func (c *redisConn) PTTL(string) (time.Duration, error) { return 0, errors.ErrUnsupported }
