package stack

import (
	"context"
	"fmt"
	"strings"
)

// redlockCount is the number of Redlock's independent Redis servers. Three is the smallest number that tolerates the
// loss of one.
const redlockCount = 3

// redlockNodes returns the parts of Redlock's nodes. They persist their keys: a node that restarts without its data
// would grant a lock again that is still held.
func (u *upRun) redlockNodes() []part {
	var parts []part
	for i := range redlockCount {
		name := fmt.Sprintf("redlock-%d", i+1)
		parts = append(parts, part{name, nil, func(ctx context.Context) (Component, error) {
			r, err := StartRedis(ctx, u.options(name, u.Ports.redlock(i)))
			if err != nil {
				return Component{}, err
			}
			return component(name, r.Server), nil
		}})
	}
	return parts
}

// redlock returns the port of a node, counted from 0. The nodes' ports follow that of the stack's Redis.
func (p Ports) redlock(node int) int { return p.Redis + 1 + node }

// redlockAddrs returns the stack's REDLOCK_ADDRS.
func (p Ports) redlockAddrs() string {
	var addrs []string
	for i := range redlockCount {
		addrs = append(addrs, loopback(p.redlock(i)))
	}
	return strings.Join(addrs, ",")
}
