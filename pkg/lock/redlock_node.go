package lock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/redis/go-redis/v9"
)

// redlockNode is a claim's keys on one node; for redsync it is the redis.Pool that answers commands for one key with
// scripts over all of them. One command at a time is on its way to the node, and never one to which a later
// one could be overtaken: a delete that passes the set which it should undo leaves an orphan.
type redlockNode struct {
	claim  *redlockClaim
	index  int
	client redis.UniversalClient

	tail <-chan struct{} // closed when the last command has ended; used by one goroutine at a time

	mu         sync.Mutex
	value      string // what our keys may hold there; empty when they certainly hold nothing of ours
	unanswered bool   // a delete of value had no answer: it may have been carried out
	freed      string // the value whose delete was answered
	code       int64  // that answer
}

var (
	_ redsyncredis.Pool = (*redlockNode)(nil)
	_ redsyncredis.Conn = (*redlockConn)(nil)
)

// Get implements redsync's Pool.
func (n *redlockNode) Get(ctx context.Context) (redsyncredis.Conn, error) {
	return &redlockConn{ctx: ctx, node: n}, nil
}

// take runs the acquire script on the locks alone, without a token and tickets.
func (n *redlockNode) take(ctx context.Context, value string) (answer, error) {
	c, b := n.claim, n.claim.backend
	n.locked(func() { n.value, n.unanswered = value, false })
	reply, err := parseAcquire(run(ctx, n.client, b.scripts.acquire, c.locks,
		value, c.owner, c.set.ttl.Milliseconds(), len(c.locks), noTicket, c.set.keepTime().Milliseconds()))
	if err != nil {
		return answer{}, err
	}
	if !reply.granted {
		n.locked(func() { n.value = "" })
	}
	return answer{yes: reply.granted, left: reply.left, owner: reply.owner}, nil
}

func (n *redlockNode) extend(ctx context.Context, value string, ttl time.Duration) (answer, error) {
	c, b := n.claim, n.claim.backend
	reply, err := run(ctx, n.client, b.scripts.extend, c.locks, value, ttl.Milliseconds()).Int64()
	return answer{yes: reply == 1}, err
}

// free runs the release script, unless its answer is certain.
func (n *redlockNode) free(ctx context.Context, value string, valid bool) (answer, error) {
	c, b := n.claim, n.claim.backend
	var unanswered, known bool
	code := int64(releasedForeign) // of a value that was refused here, or never sent
	n.locked(func() {
		unanswered, known = n.unanswered, n.value != value
		if n.freed == value {
			code = n.code
		}
	})
	if known {
		return answer{code: code, yes: code == releasedAll}, nil
	}
	code, err := run(ctx, n.client, b.scripts.release, c.locks, value, b.names.channel()).Int64()
	n.locked(func() {
		if n.unanswered = err != nil; n.unanswered {
			return
		}
		if unanswered && valid {
			// Too early to have expired: the delete without an answer freed the keys. One that is another owner's by now
			// went to a waiter.
			code = releasedAll
		}
		n.value, n.freed, n.code = "", value, code
	})
	return answer{code: code, yes: code == releasedAll}, err
}

func (n *redlockNode) locked(do func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do()
}

var errBehind = errors.New("too slow, the others had answered")

// call sends a command to the node and waits for its answer, until the other nodes have agreed and a grace has passed:
// a hung node must not make each acquisition as slow as its time-out. A command that is left behind continues. Until it
// has ended nothing else is sent to this node for this claim, except the delete, which then follows it.
func (n *redlockNode) call(
	ctx context.Context, r *round, follow bool, command func(context.Context) (answer, error),
) (answer, error) {
	r.start()
	before, busy := n.tail, false
	select {
	case <-before:
	default:
		busy = before != nil
	}
	if busy && !follow {
		return answer{}, errBehind
	}
	var a answer
	var err error
	ended := make(chan struct{})
	n.tail = ended
	run := func() {
		defer close(ended)
		if busy {
			<-before
		}
		live, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.claim.set.callTimeout())
		defer cancel()
		a, err = command(live)
	}
	if !n.claim.backend.background.start(run) {
		run() // the Locker is closed, and Close no longer waits for commands that are left behind
	}
	if !r.await(ctx, ended) {
		return answer{}, errBehind
	}
	if err == nil {
		r.record(n.index, a)
	}
	return a, err
}

// redlockConn is a node for the time of one command.
type redlockConn struct {
	ctx  context.Context //nolint:containedctx // redsync gives the context to Pool.Get, and none to the commands.
	node *redlockNode
}

// SetNX takes all locks or none.
func (c *redlockConn) SetNX(_, value string, _ time.Duration) (bool, error) {
	n := c.node
	a, err := n.call(c.ctx, n.claim.taking, false, func(ctx context.Context) (answer, error) {
		return n.take(ctx, value)
	})
	return a.yes, err
}

// Eval runs our delete script for redsync's, which has the value as its only argument, and our extend script for
// redsync's touch, which has the expiry too.
func (c *redlockConn) Eval(_ *redsyncredis.Script, keysAndArgs ...any) (any, error) {
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
func (c *redlockConn) Close() error { return nil }

// The rest of redsync's Conn is for features that are not used here.

// Get returns errors.ErrUnsupported.
func (c *redlockConn) Get(string) (string, error) { return "", errors.ErrUnsupported }

// Set returns errors.ErrUnsupported.
func (c *redlockConn) Set(string, string) (bool, error) { return false, errors.ErrUnsupported }

// ScriptLoad returns errors.ErrUnsupported.
func (c *redlockConn) ScriptLoad(*redsyncredis.Script) error { return errors.ErrUnsupported }

// PTTL returns errors.ErrUnsupported.
func (c *redlockConn) PTTL(string) (time.Duration, error) { return 0, errors.ErrUnsupported }
