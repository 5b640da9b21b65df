package lock

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// NewClient returns a go-redis client that is fit for locks: it obeys the deadlines of contexts (by default go-redis
// does not, and a hung Redis holds a caller for 5 s), returns soon, and never repeats a command by itself. Use it for
// locks only: a renewal must not wait for a connection that other work uses. One address is a single server, several
// are the seeds of a Cluster. The caller closes it, after the Redis that uses it.
func NewClient(addrs []string) redis.UniversalClient {
	return redis.NewUniversalClient(clientOptions(addrs))
}

// NewSentinelClient is [NewClient] for the master of that name, which the sentinels at the addresses know: the client
// asks them at each new connection, and leaves the old master when they announce another one. [NewRedis] documents what
// a failover does to locks.
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

// checkClient refuses clients with which a lease could outlive its key, or none could be had. The error names each
// option of go-redis that is wrong, and the value that it must have.
func checkClient(client redis.UniversalClient) error {
	switch c := client.(type) {
	case nil:
		return errNoClient
	case *redis.Client: // a single server, or the master that sentinels know
		if c == nil {
			return errNoClient
		}
		return checkOptions("redis.Options", c.Options().ContextTimeoutEnabled, c.Options().MaxRetries)
	case *redis.ClusterClient:
		if c == nil {
			return errNoClient
		}
		o := c.Options()
		return errors.Join(
			checkOptions("redis.ClusterOptions", o.ContextTimeoutEnabled, o.MaxRetries),
			checkReplicaReads(map[string]bool{"ReadOnly": o.ReadOnly, "RouteByLatency": o.RouteByLatency, "RouteRandomly": o.RouteRandomly}),
		)
	case *redis.Ring:
		return errors.New("lock: client is a *redis.Ring, want a *redis.Client or a *redis.ClusterClient: " +
			"a ring moves keys to other servers when one is down")
	default:
		return fmt.Errorf("lock: client is a %T, want a *redis.Client or a *redis.ClusterClient", client)
	}
}

var errNoClient = errors.New("lock: client is nil")

func checkOptions(options string, deadlines bool, retries int) error {
	var errs []error
	if !deadlines {
		errs = append(errs, fmt.Errorf("lock: client has %s.ContextTimeoutEnabled false, want true: "+
			"a hung Redis would outlast every deadline", options))
	}
	if retries > 0 { // go-redis turns -1 into 0 and 0 into 3
		errs = append(errs, fmt.Errorf("lock: client has %s.MaxRetries %d, want -1: a repeated command would outlast its lease",
			options, retries))
	}
	return errors.Join(errs...)
}

func checkReplicaReads(options map[string]bool) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if options[name] {
			errs = append(errs, fmt.Errorf("lock: client has redis.ClusterOptions.%s true, want false: a replica is late", name))
		}
	}
	return errors.Join(errs...)
}
