package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	redsyncredis "github.com/go-redsync/redsync/v4/redis"
)

// redisConn answers redsync's commands for one key with scripts over all keys of the claim.
type redisConn struct {
	ctx   context.Context //nolint:containedctx // redsync gives the context to Pool.Get, and none to the commands.
	claim *redisClaim
}

// SetNX takes all locks or none and draws their tokens. What it says beyond yes and no is left in the claim.
func (c *redisConn) SetNX(_, value string, expiry time.Duration) (bool, error) {
	claim, b := c.claim, c.claim.backend
	claim.refused = nil
	reply, err := b.acquire.Run(c.ctx, b.client, claim.names, value, claim.owner, expiry.Milliseconds()).Int64Slice()
	switch {
	case err != nil:
		return false, err
	case len(reply) == 2 && reply[0] == 0:
		claim.refused = &heldError{left: time.Duration(reply[1]) * time.Millisecond}
		return false, nil
	case len(reply) != 1+len(claim.keys) || reply[0] != 1:
		return false, fmt.Errorf("acquire script answered %v", reply)
	}
	claim.tokens = make(map[string]int64, len(claim.keys))
	for i, key := range claim.keys {
		claim.tokens[key] = reply[i+1]
	}
	return true, nil
}

// Eval runs our delete script for redsync's, which has the value as its only argument, and our extend script for
// redsync's touch, which has the expiry too.
func (c *redisConn) Eval(_ *redsyncredis.Script, keysAndArgs ...any) (any, error) {
	claim, b := c.claim, c.claim.backend
	switch len(keysAndArgs) {
	case 2:
		if claim.refused != nil {
			return int64(0), nil // redsync cleans up after each failure; a refused attempt left nothing, save the trip
		}
		return b.release.Run(c.ctx, b.client, claim.locks(), keysAndArgs[1], b.channel()).Int64()
	case 3:
		return b.extend.Run(c.ctx, b.client, claim.locks(), keysAndArgs[1], claim.ttl.Milliseconds()).Int64()
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
