package lock

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// errReplicas is a grant that too few replicas have received.
var errReplicas = errors.New("too few replicas have the keys")

// acquireOnReplicas runs the acquire script and waits until enough replicas have received what it wrote.
func (c *redisClaim) acquireOnReplicas(ctx context.Context, keys []string, args []any) (acquireReply, error) {
	conn, err := connection(ctx, c.backend.client, c.locks[0])
	if err != nil {
		return acquireReply{}, err
	}
	defer func() { _ = conn.Close() }() // returns it to the pool
	reply, err := parseAcquire(run(ctx, conn, c.backend.scripts.acquire, keys, args...))
	if err == nil && reply.granted {
		err = waitReplicas(ctx, conn, c.set)
	}
	return reply, err
}

// connection returns one connection to the server of the key: WAIT counts what the same connection has written. The
// caller closes it.
func connection(ctx context.Context, client redis.UniversalClient, key string) (*redis.Conn, error) {
	switch client := client.(type) {
	case *redis.Client:
		return client.Conn(), nil
	case *redis.ClusterClient:
		master, err := client.MasterForKey(ctx, key)
		if err != nil {
			return nil, err
		}
		return master.Conn(), nil
	}
	return nil, fmt.Errorf("client is a %T, which has no single connection", client)
}

// waitReplicas returns when as many replicas as the settings ask for have received what the connection wrote, or
// errReplicas when they have not within the time.
func waitReplicas(ctx context.Context, conn *redis.Conn, set settings) error {
	n, err := conn.Wait(ctx, set.replicas, set.replicasWait).Result()
	if err != nil {
		return err
	}
	if n < int64(set.replicas) {
		return fmt.Errorf("%w: %d of %d after %v", errReplicas, n, set.replicas, set.replicasWait)
	}
	return nil
}
