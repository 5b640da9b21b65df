package stacktest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/testkit"
)

// OwnRedises starts n independent servers for this test alone; see [OwnRedis].
func OwnRedises(tb testing.TB, n int) []*stack.Redis {
	tb.Helper()
	servers := make([]*stack.Redis, n)
	for i := range servers {
		servers[i] = OwnRedis(tb)
	}
	return servers
}

// hashSlots is the number of hash slots of a Redis Cluster.
const hashSlots = 16384

// RedisCluster starts a Redis Cluster of three masters without replicas for this test alone. It returns when each
// master reports the cluster as complete. The cluster ends with the test.
func RedisCluster(tb testing.TB) []*stack.Redis {
	tb.Helper()
	const masters = 3
	servers := make([]*stack.Redis, masters)
	clients := make([]*redis.Client, masters)
	for i := range servers {
		servers[i] = clusterNode(tb)
		client := redis.NewClient(&redis.Options{Addr: servers[i].Addr})
		defer client.Close() //nolint:errcheck // nothing is left to write
		clients[i] = client
	}
	ctx := tb.Context()
	for i, client := range clients {
		host, port, _ := net.SplitHostPort(servers[0].Addr)
		first, last := i*hashSlots/masters, (i+1)*hashSlots/masters-1
		must(tb, client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err()) // equal epochs would have to be resolved first
		must(tb, client.ClusterAddSlotsRange(ctx, first, last).Err())
		must(tb, client.ClusterMeet(ctx, host, port).Err())
	}
	for _, client := range clients {
		testkit.EventuallyTrue(tb, startTimeout, "the cluster is complete", func() bool {
			info := client.ClusterInfo(ctx).Val()
			return strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", masters))
		})
	}
	return servers
}

// busTries is how often a cluster node is started on another port because its second port was taken.
const busTries = 5

// clusterNode starts a server that can join a cluster. It also listens on its port plus 10000. That port is in the
// range of outgoing connections, so another process may be using it.
func clusterNode(tb testing.TB) *stack.Redis {
	tb.Helper()
	return start(tb, func(ctx context.Context) (r *stack.Redis, err error) {
		for range busTries {
			r, err = stack.StartRedis(ctx, stack.Options{Tie: true}, "--cluster-enabled", "yes", "--cluster-node-timeout", "5000")
			if err == nil || !strings.Contains(err.Error(), "(cluster)") {
				return r, err
			}
		}
		return nil, err
	})
}

// RedisSentinel is a master with a replica, and three sentinels that watch them under the name Master.
type RedisSentinel struct {
	Master    string
	Sentinels []string // addresses

	First, Second *stack.Redis // the first master and the first replica
}

// NewRedisSentinel starts the servers for this test alone. It returns when the replica follows the master and each
// sentinel has found the replica and the other sentinels, so that a failover can succeed.
func NewRedisSentinel(tb testing.TB) *RedisSentinel {
	tb.Helper()
	const sentinels, quorum = 3, 2
	s := &RedisSentinel{Master: "holdfast", First: OwnRedis(tb)}
	s.Second = OwnRedis(tb, "--replicaof", strings.Replace(s.First.Addr, ":", " ", 1))
	for range sentinels {
		sentinel := start(tb, func(ctx context.Context) (*stack.Redis, error) {
			return stack.StartSentinel(ctx, stack.Options{Tie: true}, s.Master, s.First.Addr, quorum)
		})
		s.Sentinels = append(s.Sentinels, sentinel.Addr)
	}
	for _, addr := range s.Sentinels {
		client := redis.NewSentinelClient(&redis.Options{Addr: addr})
		defer client.Close() //nolint:errcheck // nothing is left to write
		testkit.EventuallyTrue(tb, startTimeout, "a sentinel has found the replica and the other sentinels", func() bool {
			known, err := client.Master(tb.Context(), s.Master).Result()
			return err == nil && known["num-slaves"] == "1" && known["num-other-sentinels"] == fmt.Sprint(sentinels-1)
		})
	}
	replica := redis.NewClient(&redis.Options{Addr: s.Second.Addr})
	defer replica.Close() //nolint:errcheck // nothing is left to write
	testkit.EventuallyTrue(tb, startTimeout, "the replica follows the master", func() bool {
		return strings.Contains(replica.Info(tb.Context(), "replication").Val(), "master_link_status:up")
	})
	return s
}

// start starts one server for this test alone.
func start(tb testing.TB, do func(ctx context.Context) (*stack.Redis, error)) *stack.Redis {
	tb.Helper()
	SkipIfShort(tb, "Redis")
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	r, err := do(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Stop(context.Background()); err != nil {
			tb.Errorf("stop %s: %v", r.Name, err)
		}
	})
	tb.Logf("runs on %s %s", r.Name, r.Version)
	return r
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
