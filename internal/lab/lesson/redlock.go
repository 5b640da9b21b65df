package lesson

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack"
	"holdfast/pkg/lock"
)

func redlock() Lesson {
	return Lesson{
		Name:  "redlock",
		Title: "three Redis servers vote: what Redlock guarantees, and what it does not",
		Run:   runRedlock,
	}
}

// redlockTTL is long: the lesson's faults must be finished before A renews, after a third of it.
const redlockTTL = 12 * time.Second

// voters are the lesson's own Redis servers.
type voters struct {
	e     *Env
	nodes []*stack.Redis
}

func runRedlock(ctx context.Context, e *Env) error {
	v := &voters{e: e}
	for range 3 {
		node, err := e.OwnRedis(ctx)
		if err != nil {
			return err
		}
		v.nodes = append(v.nodes, node)
	}
	if err := v.oneDown(ctx); err != nil {
		return err
	}
	if err := v.forgetful(ctx); err != nil {
		return err
	}
	return v.keptAway(ctx)
}

// locker returns a Redlock on the servers, like that of a separate process.
func (v *voters) locker() (*lock.Redlock, error) {
	var clients []redis.UniversalClient
	for _, node := range v.nodes {
		client := lock.NewClient([]string{node.Addr})
		v.e.Clean(func(context.Context) error { return client.Close() })
		clients = append(clients, client)
	}
	locker, err := lock.NewRedlock(clients, lock.WithTTL(redlockTTL))
	if err != nil {
		return nil, err
	}
	v.e.Clean(func(context.Context) error { return locker.Close() })
	return locker, nil
}

// oneDown shows the benefit of Redlock.
func (v *voters) oneDown(ctx context.Context) error {
	e := v.e
	e.Step("Three servers, one lock: the client that two of them granted it to holds it. One server is killed.")
	locker, err := v.locker()
	if err != nil {
		return err
	}
	if err := v.nodes[2].Process.Kill(); err != nil {
		return err
	}
	start := time.Now()
	lease, err := locker.Acquire(ctx, "k")
	if err != nil {
		return err
	}
	e.Show("server 3 is down; the lock is acquired after %v", rounded(time.Since(start)))
	e.Check(lease.Context().Err() == nil, "one of three is down, and locking continues")
	e.Check(lease.Token("k") == 0, "there is no fencing token: the servers' counters would differ")
	if err := lease.Release(ctx); err != nil {
		return err
	}
	if err := v.nodes[1].Process.Kill(); err != nil {
		return err
	}
	_, err = locker.Acquire(ctx, "k")
	e.Show("servers 2 and 3 are down: %v", err)
	e.Check(errors.Is(err, lock.ErrUnavailable), "two of three are down, and no client gets a lock")
	return v.restart(ctx, 1, 2)
}

// restart starts servers again without their data, like a Redis without persistence. nodes count from 0.
func (v *voters) restart(ctx context.Context, nodes ...int) error {
	for _, i := range nodes {
		if err := v.nodes[i].Restart(ctx); err != nil {
			return err
		}
	}
	return nil
}

// forgetful lets a server grant the lock twice.
func (v *voters) forgetful(ctx context.Context) error {
	e := v.e
	e.Step("Server 3 is down while A locks, and is started again. Server 2 is restarted without persistence.")
	a, b, err := v.majorityWithout3(ctx)
	if err != nil {
		return err
	}
	if _, err = b.Try(ctx, "k"); !errors.Is(err, lock.ErrHeld) {
		e.Check(false, "B is refused while A holds: %v", err)
	}
	e.Show("B: %v", err)
	if err := v.restart(ctx, 1); err != nil {
		return err
	}
	if err := v.show(ctx, "server 2 has been restarted"); err != nil {
		return err
	}
	second, err := b.Try(ctx, "k")
	if err != nil {
		return err
	}
	both := time.Now()
	if err := v.show(ctx, "B has the lock"); err != nil {
		return err
	}
	e.Check(a.Context().Err() == nil && second.Context().Err() == nil,
		"two clients hold the lock, each by a majority: 1 and 2, then 2 and 3; A's lease runs for %v more", rounded(time.Until(a.Until())))
	e.Check(a.Token("k") == 0 && second.Token("k") == 0, "the row cannot tell them apart: both have token 0")
	<-a.Context().Done()
	cause := context.Cause(a.Context()) //nolint:contextcheck // The lease derives its context from ctx.
	e.Show("A notices it %v later, when it renews: %v", rounded(time.Since(both)), cause)
	late := a.Release(ctx)
	e.Check(errors.Is(late, lock.ErrLost), "A's Release returns ErrLost")
	return second.Release(ctx)
}

// majorityWithout3 lets A lock on servers 1 and 2. It returns A's lease and B's locker.
func (v *voters) majorityWithout3(ctx context.Context) (*lock.Lease, *lock.Redlock, error) {
	if err := v.nodes[2].Process.Kill(); err != nil {
		return nil, nil, err
	}
	first, err := v.locker()
	if err != nil {
		return nil, nil, err
	}
	a, err := first.Acquire(ctx, "k")
	if err != nil {
		return nil, nil, err
	}
	if err := v.restart(ctx, 2); err != nil {
		return nil, nil, err
	}
	if err := v.show(ctx, "A has the lock; server 3 is back"); err != nil {
		return nil, nil, err
	}
	b, err := v.locker()
	return a, b, err
}

// keptAway shows the cure for a server that loses its data.
func (v *voters) keptAway(ctx context.Context) error {
	e := v.e
	e.Step("The same, but server 2 stays down for one TTL after its crash: by then no lock that it granted is held.")
	a, b, err := v.majorityWithout3(ctx)
	if err != nil {
		return err
	}
	if err := v.nodes[1].Process.Kill(); err != nil {
		return err
	}
	_, err = b.Try(ctx, "k")
	e.Show("B: %v", err)
	e.Check(err != nil && a.Context().Err() == nil, "B finds no majority while A may hold the lock")
	_ = a.Release(ctx) // reaches only one server of three; the rest of the lock expires
	return nil
}

// show prints which servers have granted the lock.
func (v *voters) show(ctx context.Context, when string) error {
	votes := make([]string, 0, len(v.nodes))
	for i, node := range v.nodes {
		keys, err := v.e.Client(node.Addr).Keys(ctx, "*key:k").Result() // the server has no other keys
		if err != nil {
			return err
		}
		vote := "free"
		if len(keys) > 0 {
			vote = "held"
		}
		votes = append(votes, fmt.Sprintf("server %d %s", i+1, vote))
	}
	v.e.Show("%s: %s", when, strings.Join(votes, ", "))
	return nil
}
