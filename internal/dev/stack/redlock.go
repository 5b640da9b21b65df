package stack

import (
	"context"
	"fmt"
	"strings"
)

// Redlock's nodes: Redis servers that know nothing of each other. Three are the fewest of which one may be lost.
const redlockNodes = 3

// redlockNodes are small: a lock is a key of a hundred bytes. They keep it on disk, because a node that restarts without its
// data hands out again what it has promised to somebody.
func (u *upper) redlockNodes() []part {
	var parts []part
	for i := range redlockNodes {
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

// redlock is the port of a node, from 0: they follow the stack's own Redis.
func (p Ports) redlock(node int) int { return p.Redis + 1 + node }

// redlockAddrs is REDLOCK_ADDRS of the stack.
func (p Ports) redlockAddrs() string {
	var addrs []string
	for i := range redlockNodes {
		addrs = append(addrs, loopback(p.redlock(i)))
	}
	return strings.Join(addrs, ",")
}
