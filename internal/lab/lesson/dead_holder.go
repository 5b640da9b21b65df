package lesson

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/lock"
)

func deadHolder() Lesson {
	return Lesson{
		Name:  "dead-holder",
		Title: "a holder that dies never unlocks: only an expiry does",
		Run:   runDeadHolder,
		Roles: map[string]Role{"set": holdBySet, "lease": holdByLease},
	}
}

// deadTTL is how long the lock of a killed process blocks other clients.
const deadTTL = time.Second

func runDeadHolder(ctx context.Context, e *Env) error {
	client, err := e.Redis(ctx)
	if err != nil {
		return err
	}
	e.Step("A process takes the lock with SETNX, without an expiry, and dies: kill -9.")
	if err := deadWithoutExpiry(ctx, e, client); err != nil {
		return err
	}
	e.Step("The same with SET NX PX %d.", deadTTL.Milliseconds())
	if err := deadForTTL(ctx, e, client); err != nil {
		return err
	}
	e.Step("The same with pkg/lock, TTL %v. Its holder renewed every %v, until it was killed.", deadTTL, rounded(deadTTL/3))
	return deadLease(ctx, e, client)
}

// killHolder starts a holder, waits until it holds the lock, and kills it.
func killHolder(ctx context.Context, e *Env, role string, args ...string) error {
	holder, err := e.Start(role, args...)
	if err != nil {
		return err
	}
	if _, err := holder.Await(ctx, "holds"); err != nil {
		return err
	}
	if err := holder.Kill(); err != nil {
		return err
	}
	e.Show("process %d held the lock and was killed; its deferred Unlock never runs", holder.PID)
	return nil
}

func deadWithoutExpiry(ctx context.Context, e *Env, client *redis.Client) error {
	key := e.Key("no-expiry")
	if err := killHolder(ctx, e, "set", client.Options().Addr, key, "0s"); err != nil {
		return err
	}
	const watched = 2 * deadTTL
	tries, got := 0, false
	for start := time.Now(); time.Since(start) < watched && !got; time.Sleep(50 * time.Millisecond) {
		ok, err := client.SetNX(ctx, key, "next", 0).Result()
		if err != nil {
			return err
		}
		tries, got = tries+1, ok
	}
	ttl, err := client.TTL(ctx, key).Result()
	if err != nil {
		return err
	}
	e.Show("the next client tried %d times in %v; TTL -> %s (-1: never expires)", tries, watched, seconds(ttl))
	e.Check(!got && ttl == -1, "the key stays until an operator deletes it")
	return nil
}

func deadForTTL(ctx context.Context, e *Env, client *redis.Client) error {
	key := e.Key("for-ttl")
	if err := killHolder(ctx, e, "set", client.Options().Addr, key, deadTTL.String()); err != nil {
		return err
	}
	start := time.Now()
	left, err := client.PTTL(ctx, key).Result()
	if err != nil {
		return err
	}
	err = e.Until(ctx, "the killed process's key has expired", func(ctx context.Context) (bool, error) {
		return client.SetNX(ctx, key, "next", deadTTL).Result()
	})
	if err != nil {
		return err
	}
	waited := time.Since(start)
	e.Show("PTTL -> %d; the next client has the lock after %v", left.Milliseconds(), rounded(waited))
	e.Check(left > 0 && waited >= left-time.Millisecond, "the next client got the lock, but not before the key expired")
	return nil
}

func deadLease(ctx context.Context, e *Env, client *redis.Client) error {
	prefix := e.Key("lease:")
	if err := killHolder(ctx, e, "lease", client.Options().Addr, prefix, deadTTL.String()); err != nil {
		return err
	}
	locker, err := e.locker(ctx, prefix, lock.WithTTL(deadTTL))
	if err != nil {
		return err
	}
	start := time.Now()
	lease, err := locker.Acquire(ctx, "k")
	if err != nil {
		return err
	}
	e.Show("the next client has the lock after %v, with token %d",
		rounded(time.Since(start)), lease.Token("k"))
	e.Check(lease.Token("k") == 2, "the next client is the second holder of this key: its token is 2")
	return lease.Release(ctx)
}

// holdBySet holds a key until the process is killed. Args: address, key, expiry (0s: none).
func holdBySet(ctx context.Context, c *Child) error {
	client := redis.NewClient(&redis.Options{Addr: c.Args[0]})
	defer client.Close() //nolint:errcheck // nothing can be done about it
	expiry, err := time.ParseDuration(c.Args[2])
	if err != nil {
		return err
	}
	l := inventorylab.HandLock{Client: client, Key: c.Args[1], Value: "holder", TTL: expiry}
	if err := l.Lock(ctx); err != nil {
		return err
	}
	defer l.Unlock(ctx) //nolint:errcheck // this Unlock never runs after kill -9
	c.Report("holds")
	_, err = c.Order(ctx)
	return err
}

// holdByLease holds a lease until the process is killed. Args: address, prefix, TTL.
func holdByLease(ctx context.Context, c *Child) error {
	ttl, err := time.ParseDuration(c.Args[2])
	if err != nil {
		return err
	}
	locker, closing, err := newLocker(c.Args[0], c.Args[1], lock.WithTTL(ttl))
	if err != nil {
		return err
	}
	defer closing() //nolint:errcheck // nothing can be done about it
	lease, err := locker.Acquire(ctx, "k")
	if err != nil {
		return err
	}
	defer lease.Release(ctx) //nolint:errcheck // nothing can be done about it
	c.Report("holds")
	_, err = c.Order(ctx)
	return err
}
