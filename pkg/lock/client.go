package lock

import (
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// NewClient returns a go-redis client that is fit for locks: it obeys the deadlines of contexts (by default go-redis does
// not, and a hung Redis holds a caller for 5 s), gives up soon, and never repeats a command by itself. Give it to nobody
// else: waiters of the business's pool must not stand in the way of a renewal. One address is a single server, several
// are the seeds of a Cluster. The caller closes it, after the Redis that uses it.
func NewClient(addrs []string) redis.UniversalClient {
	return redis.NewUniversalClient(clientOptions(addrs))
}

// NewSentinelClient is [NewClient] for the master of that name, which the sentinels at the addresses know: the client asks
// them at each new connection, and leaves the old master when they announce another one. What a failover does to
// locks is told at [NewRedis].
func NewSentinelClient(master string, sentinels []string) redis.UniversalClient {
	o := clientOptions(sentinels)
	o.MasterName = master
	return redis.NewUniversalClient(o)
}

func clientOptions(addrs []string) *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs:                 addrs,
		ContextTimeoutEnabled: true,
		DialTimeout:           500 * time.Millisecond,
		DialerRetries:         1,
		ReadTimeout:           500 * time.Millisecond,
		WriteTimeout:          500 * time.Millisecond,
		MaxRetries:            -1,
		PoolSize:              64,
		PoolTimeout:           time.Second,
		DisableIdentity:       true,
		// These are for a vendor's cloud; a plain Redis answers the handshake with an error, one round trip later.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// checkClient refuses clients with which a lease could outlive its key, or none could be had.
func checkClient(client redis.UniversalClient) error {
	switch c := client.(type) {
	case nil:
		return errNoClient
	case *redis.Client: // a single server, or the master that sentinels know
		if c == nil {
			return errNoClient
		}
		return checkTimes(c.Options().ContextTimeoutEnabled, c.Options().MaxRetries)
	case *redis.ClusterClient:
		if c == nil {
			return errNoClient
		}
		o := c.Options()
		if o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return fmt.Errorf("lock: client reads from replicas (ReadOnly %t, RouteByLatency %t, RouteRandomly %t): a replica is late",
				o.ReadOnly, o.RouteByLatency, o.RouteRandomly)
		}
		return checkTimes(o.ContextTimeoutEnabled, o.MaxRetries)
	default:
		return fmt.Errorf("lock: client is a %T, which has no single place for a key", client)
	}
}

var errNoClient = errors.New("lock: client is nil")

func checkTimes(deadlines bool, retries int) error {
	if !deadlines {
		return errors.New("lock: client has ContextTimeoutEnabled false: a hung Redis would outlast every deadline")
	}
	if retries > 0 {
		return fmt.Errorf("lock: client has MaxRetries %d: a repeated command would outlast its lease", retries)
	}
	return nil
}
