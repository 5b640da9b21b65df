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
		Title: "three Redis servers vote: what that gives, and what not",
		Run:   runRedlock,
	}
}

// redlockTTL is long: what the lesson does to the servers must be over before A looks again, after a third of it.
const redlockTTL = 12 * time.Second

// voters are the lesson's own servers.
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

// locker is a process of its own, for the servers.
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

// oneDown is what Redlock is for.
func (v *voters) oneDown(ctx context.Context) error {
	e := v.e
	e.Step("Three servers, one lock: it belongs to whom two of them have granted it. One server is killed.")
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
	e.Show("server 3 is dead; the lock is had after %v", rounded(time.Since(start)))
	e.Check(lease.Context().Err() == nil, "one of three is down, and locking goes on")
	e.Check(lease.Token("k") == 0, "there is no fencing token: the servers' counters would disagree")
	if err := lease.Release(ctx); err != nil {
		return err
	}
	if err := v.nodes[1].Process.Kill(); err != nil {
		return err
	}
	_, err = locker.Acquire(ctx, "k")
	e.Show("servers 2 and 3 are dead: %v", err)
	e.Check(errors.Is(err, lock.ErrUnavailable), "two of three are down, and nobody gets a lock")
	return v.restart(ctx, 1, 2)
}

// restart brings servers back as a Redis without persistence comes back: empty. Numbers count from 0.
func (v *voters) restart(ctx context.Context, nodes ...int) error {
	for _, i := range nodes {
		if err := v.nodes[i].Restart(ctx); err != nil {
			return err
		}
	}
	return nil
}

// forgetful lets a server vote twice.
func (v *voters) forgetful(ctx context.Context) error {
	e := v.e
	e.Step("Server 3 is away while A locks, and comes back. Server 2 is restarted; it keeps nothing on disk.")
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
		"two hold the lock, each by a majority: 1 and 2, then 2 and 3; A's lease runs for %v more", rounded(time.Until(a.Until())))
	e.Check(a.Token("k") == 0 && second.Token("k") == 0, "and the row cannot tell them apart: both have token 0")
	<-a.Context().Done()
	cause := context.Cause(a.Context()) //nolint:contextcheck // The lease derives its context from ctx.
	e.Show("A learns of it %v later, when it renews: %v", rounded(time.Since(both)), cause)
	late := a.Release(ctx)
	e.Check(errors.Is(late, lock.ErrLost), "A's release says that it was lost")
	return second.Release(ctx)
}

// majorityWithout3 lets A lock on servers 1 and 2 and returns its lease and B's locker.
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

// keptAway is the cure for a server that forgets.
func (v *voters) keptAway(ctx context.Context) error {
	e := v.e
	e.Step("The same, but server 2 stays away after its crash, for one TTL: nobody whom it voted for holds then.")
	a, b, err := v.majorityWithout3(ctx)
	if err != nil {
		return err
	}
	if err := v.nodes[1].Process.Kill(); err != nil {
		return err
	}
	_, err = b.Try(ctx, "k")
	e.Show("B: %v", err)
	e.Check(err != nil && a.Context().Err() == nil, "B finds no majority while A may hold")
	_ = a.Release(ctx) // on one server of three: the lock goes with its TTL
	return nil
}

// show prints who has which server's vote.
func (v *voters) show(ctx context.Context, when string) error {
	votes := make([]string, 0, len(v.nodes))
	for i, node := range v.nodes {
		keys, err := v.e.Client(node.Addr).Keys(ctx, "*key:k").Result() // the lesson's own server: there is nothing else
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
