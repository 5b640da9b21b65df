package lock

import (
	"fmt"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Redlock is the Locker on several independent Redis servers: a lease is what a majority of them has granted. It goes
// on when fewer than half of them are down, slow or hung, without waiting for those.
//
// It buys availability and not more safety. There is no fencing token, [Lease.Token] is 0: counters of several servers
// disagree, and the highest of a majority's may be lower than one given before. So the resource cannot refuse a stale
// holder, and a lease whose loss its holder does not notice (see the package's comment) does damage unless the writes
// are safe without any lock. A server that forgets its keys, in a restart without persistence or a flush, can give its
// vote a second time while the first lease still runs: then two hold the key, each by a majority. Keep such a server
// away for one TTL, or let it write each command to disk.
type Redlock struct {
	*locker
	backend *redlockBackend
}

var _ Locker = (*Redlock)(nil)

// NewRedlock returns a Locker on an odd number of servers, three or more; the clients should come from [NewClient],
// with one address each. It sends nothing yet. It refuses what [NewRedis] refuses, and clients that are not independent
// servers: the same address twice, a Cluster, or a master that sentinels replace with a replica, which is a server that
// forgets.
func NewRedlock(clients []redis.UniversalClient, opts ...Option) (*Redlock, error) {
	set, err := newSettings(opts)
	if err != nil {
		return nil, err
	}
	if len(clients) < 3 || len(clients)%2 == 0 {
		return nil, fmt.Errorf("lock: %d nodes: Redlock needs an odd number of three or more", len(clients))
	}
	if err := checkNodes(clients); err != nil {
		return nil, err
	}
	b := &redlockBackend{
		clients: clients, quorum: len(clients)/2 + 1, names: names{set.prefix}, scripts: newScripts(), background: &background{},
	}
	if err := b.check(set); err != nil {
		return nil, err
	}
	return &Redlock{locker: newLocker(b, set), backend: b}, nil
}

// Close is that of [Redis], and waits also for commands that are still on their way to slow servers.
func (r *Redlock) Close() error {
	err := r.locker.Close()
	r.backend.background.close()
	return err
}

func checkNodes(clients []redis.UniversalClient) error {
	seen := make(map[string]int)
	for i, client := range clients {
		if err := checkClient(client); err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
		single, ok := client.(*redis.Client)
		if !ok {
			return fmt.Errorf("lock: node %d is a %T, not one independent server", i, client)
		}
		addr := single.Options().Addr
		if addr == failoverAddr {
			return fmt.Errorf("lock: node %d is found through sentinels, which replace it with a replica that has lost its vote", i)
		}
		if first, twice := seen[canonical(addr)]; twice {
			return fmt.Errorf("lock: nodes %d and %d are both %s: one server would vote twice", first, i, addr)
		}
		seen[canonical(addr)] = i
	}
	return nil
}

// failoverAddr is what go-redis writes into the options of a client that asks sentinels for the address.
const failoverAddr = "FailoverClient"

// canonical makes the usual spellings of this machine one. It cannot know all names of a server.
func canonical(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	switch host = strings.ToLower(host); host {
	case "", "localhost", "::1":
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
