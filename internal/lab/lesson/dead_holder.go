package lesson

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/lock"
	"holdfast/pkg/wait"
)

func deadHolder() Lesson {
	return Lesson{
		Name: "dead-holder", Scenes: deadHolderScenes, Roles: map[string]Role{"set": holdBySet, "lease": holdByLease},
		Takes: []string{paramTTL},
	}
}

// deadTTL is how long the lock of a killed process blocks other clients.
const deadTTL = time.Second

func deadHolderScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	client, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	ttl := e.ttl(deadTTL)
	alive := e.unrenewed(deadTTL)
	return []step.Scene{
		e.scene(step.T("dead-holder.no-expiry"), func(context.Context) (*step.Stage, error) {
			return e.deadWithoutExpiry(client, ttl), nil
		}),
		e.scene(step.T("dead-holder.expiry", alive.Milliseconds()), func(context.Context) (*step.Stage, error) {
			return e.deadForTTL(client, alive), nil
		}),
		e.scene(step.T("dead-holder.lease", ttl, rounded(ttl/3)), func(context.Context) (*step.Stage, error) {
			return e.deadLease(client, ttl), nil
		}),
	}, nil
}

// dyingHolder returns an actor whose process takes the lock and is killed.
func (e *Env) dyingHolder(role string, args ...string) *step.Actor {
	var holder *Process
	locks := step.Step{
		Label: step.T("dead-holder.locks"),
		Do: func(ctx context.Context) (_ step.Result, err error) {
			if holder, err = e.Start(role, args...); err != nil {
				return step.Result{}, err
			}
			_, err = holder.Await(ctx, "holds")
			return step.Result{Text: step.T("dead-holder.locks.got", holder.PID)}, err
		},
	}
	dies := step.Step{Label: step.T("dead-holder.dies"), Do: func(context.Context) (step.Result, error) {
		return step.Result{Text: step.T("dead-holder.dies.got")}, holder.Kill()
	}}
	return &step.Actor{Name: "A", Steps: []step.Step{locks, dies}}
}

// nextClient returns an actor with one step.
func nextClient(label step.Text, ask string, do func(ctx context.Context) (step.Result, error)) *step.Actor {
	return &step.Actor{Name: "B", Steps: []step.Step{{Label: label, Ask: ask, Do: do}}}
}

// nextLease returns an actor with one step, which acquires a lease of pkg/lock and releases it. token receives the
// lease's token, and got makes the result of the wait.
func (e *Env) nextLease(texts, prefix string, ttl time.Duration, token *int64, got func(waited time.Duration) step.Text) *step.Actor {
	return nextClient(step.T(texts), texts+".ask", func(ctx context.Context) (step.Result, error) {
		locker, err := e.locker(ctx, prefix, lock.WithTTL(ttl))
		if err != nil {
			return step.Result{}, err
		}
		start := time.Now()
		lease, err := locker.Acquire(ctx, "k")
		if err != nil {
			return step.Result{}, err
		}
		*token = lease.Token("k")
		return step.Result{Text: got(rounded(time.Since(start)))}, lease.Release(ctx)
	})
}

func (e *Env) deadWithoutExpiry(client *redis.Client, ttl time.Duration) *step.Stage {
	key, watched := e.Key(fresh("no-expiry")), 2*ttl
	got, left := false, time.Duration(0)
	label := step.T("dead-holder.tries", watched)
	next := nextClient(label, "dead-holder.tries.ask", func(ctx context.Context) (_ step.Result, err error) {
		tries := 0
		for start := time.Now(); time.Since(start) < watched && !got; tries++ {
			if got, err = client.SetNX(ctx, key, "next", 0).Result(); err != nil {
				return step.Result{}, err
			}
			if err := wait.Sleep(ctx, 50*time.Millisecond); err != nil {
				return step.Result{}, err
			}
		}
		left, err = client.TTL(ctx, key).Result()
		return step.Result{Text: step.T("dead-holder.tries.got", tries, watched, seconds(left))}, err
	})
	return &step.Stage{
		Actors: []*step.Actor{e.dyingHolder("set", client.Options().Addr, key, "0s"), next},
		Order:  []string{"A", "A", "B"},
		Look:   []step.Looker{e.lookKeys(client, key)},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(!got && left == -1, "dead-holder.no-expiry.claim")
			return nil
		},
	}
}

func (e *Env) deadForTTL(client *redis.Client, ttl time.Duration) *step.Stage {
	key := e.Key(fresh("for-ttl"))
	var left, waited time.Duration
	next := nextClient(step.T("dead-holder.waits"), "dead-holder.waits.ask", func(ctx context.Context) (_ step.Result, err error) {
		start := time.Now()
		if left, _, err = e.expiry(ctx, client, key); err != nil {
			return step.Result{}, err
		}
		err = e.Until(ctx, "the next client has the lock", func(ctx context.Context) (bool, error) {
			return client.SetNX(ctx, key, "next", e.patience(ttl)).Result()
		})
		waited = time.Since(start)
		return step.Result{Text: step.T("dead-holder.waits.got", left.Milliseconds(), rounded(waited))}, err
	})
	return &step.Stage{
		Actors: []*step.Actor{e.dyingHolder("set", client.Options().Addr, key, ttl.String()), next},
		Order:  []string{"A", "A", "B"},
		Look:   []step.Looker{e.lookKeys(client, key)},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(left > 0 && waited >= left-time.Millisecond, "dead-holder.expiry.claim")
			return nil
		},
	}
}

func (e *Env) deadLease(client *redis.Client, ttl time.Duration) *step.Stage {
	prefix := e.Key(fresh("lease") + ":")
	var token int64
	next := e.nextLease("dead-holder.acquires", prefix, ttl, &token, func(waited time.Duration) step.Text {
		return step.T("dead-holder.acquires.got", waited, token)
	})
	return &step.Stage{
		Actors: []*step.Actor{e.dyingHolder("lease", client.Options().Addr, prefix, ttl.String(), e.patience(4*ttl).String()), next},
		Order:  []string{"A", "A", "B"},
		Look:   []step.Looker{e.lookKeys(client, prefix)},
		End: func(_ context.Context, end *step.Ending) error {
			// Not exactly 2: an attempt whose answer was lost is asked again, and draws anew.
			end.Check(token > 1, "dead-holder.lease.claim")
			return nil
		},
	}
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

// holdByLease holds a lease until the process is killed. Args: address, prefix, TTL, MaxHold.
func holdByLease(ctx context.Context, c *Child) error {
	ttl, err := time.ParseDuration(c.Args[2])
	if err != nil {
		return err
	}
	longest, err := time.ParseDuration(c.Args[3])
	if err != nil {
		return err
	}
	locker, closing, err := newLocker(c.Args[0], c.Args[1], lock.WithTTL(ttl), lock.WithMaxHold(longest))
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
