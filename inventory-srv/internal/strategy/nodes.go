package strategy

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"holdfast/pkg/lock"
)

// Nodes are Redlock's independent Redis servers, or none.
type Nodes struct {
	clients []redis.UniversalClient
	redlock *lock.Redlock // nil without nodes
}

// OpenNodes prepares a lock over the servers at addrs, to which it sends nothing yet. No address is no error: the
// strategy redlock then answers redlock_unavailable. An even number of them, or fewer than three, is one. The caller
// closes the nodes.
func OpenNodes(addrs []string, opts ...lock.Option) (*Nodes, error) {
	n := &Nodes{}
	if len(addrs) == 0 {
		return n, nil
	}
	for _, addr := range addrs {
		n.clients = append(n.clients, lock.NewClient([]string{addr}))
	}
	var err error
	if n.redlock, err = lock.NewRedlock(n.clients, opts...); err != nil {
		return nil, errors.Join(fmt.Errorf("redlock nodes: %w", err), n.Close())
	}
	return n, nil
}

// Acquirer is for [Deps]: nil without nodes.
func (n *Nodes) Acquirer() Acquirer {
	if n.redlock == nil {
		return nil // and not an interface that holds a nil pointer
	}
	return n.redlock
}

// Probe is a readiness check: a majority of the nodes answers.
func (n *Nodes) Probe(ctx context.Context) error {
	var faults []error
	for _, c := range n.clients {
		if err := c.Ping(ctx).Err(); err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) > 0 && 2*len(faults) >= len(n.clients) {
		return errors.Join(faults...)
	}
	return nil
}

// Close closes the connections.
func (n *Nodes) Close() error {
	var faults []error
	if n.redlock != nil {
		faults = append(faults, n.redlock.Close())
	}
	for _, c := range n.clients {
		faults = append(faults, c.Close())
	}
	return errors.Join(faults...)
}
