package lesson

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/lock"
	"holdfast/pkg/wait"
)

func hungHolder() Lesson {
	return Lesson{
		Name: "hung-holder", Scenes: hungHolderScenes, Takes: []string{paramTTL, paramPause},
		Roles: map[string]Role{"uncapped": hangUncapped, "capped": hangCapped, "seller": runSeller},
	}
}

const hungTTL = 1500 * time.Millisecond

func hungHolderScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	client, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	ttl := e.ttl(hungTTL)
	watched, err := e.pause(4*ttl, ttl) // how long the lesson watches the uncapped holder
	if err != nil {
		return nil, err
	}
	return []step.Scene{
		e.scene(step.T("hung-holder.uncapped", ttl, rounded(ttl/3)), func(context.Context) (*step.Stage, error) {
			return e.watchUncapped(client, ttl, watched), nil
		}),
		e.scene(step.T("hung-holder.capped", ttl, 2*ttl), func(context.Context) (*step.Stage, error) {
			return e.watchCapped(client, ttl), nil
		}),
		e.scene(step.T("hung-holder.frozen"), e.watchFrozen),
	}, nil
}

// hangs is a step in which a process takes the lock and hangs.
func (e *Env) hangs(holder **Process, role string, args ...string) step.Step {
	return step.Step{
		Label: step.T("hung-holder.hangs"),
		Do: func(ctx context.Context) (_ step.Result, err error) {
			if *holder, err = e.Start(role, args...); err != nil {
				return step.Result{}, err
			}
			_, err = (*holder).Await(ctx, "hangs")
			return step.Result{Text: step.T("hung-holder.hangs.got", (*holder).PID)}, err
		},
	}
}

// watchUncapped watches a holder whose work hangs while its watchdog still runs.
func (e *Env) watchUncapped(client *redis.Client, ttl, watched time.Duration) *step.Stage {
	key := e.Key(fresh("uncapped"))
	var holder *Process
	got := false
	next := nextClient(step.T("hung-holder.tries", watched), "hung-holder.tries.ask", func(ctx context.Context) (_ step.Result, err error) {
		tries := 0
		for start := time.Now(); time.Since(start) < watched && !got; tries++ {
			if got, err = client.SetNX(ctx, key, "next", ttl).Result(); err != nil {
				return step.Result{}, err
			}
			if err := wait.Sleep(ctx, ttl/20); err != nil {
				return step.Result{}, err
			}
		}
		renewals, err := ask(ctx, holder, "renewals")
		return step.Result{Text: step.T("hung-holder.tries.got", watched, int64(watched/ttl), renewals, tries)}, err
	})
	return &step.Stage{
		Actors: []*step.Actor{{Name: "A", Steps: []step.Step{e.hangs(&holder, "uncapped", client.Options().Addr, key, ttl.String())}}, next},
		Order:  []string{"A", "B"},
		Look:   []step.Looker{e.lookKeys(client, key)},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(!got, "hung-holder.uncapped.claim")
			return nil
		},
	}
}

// watchCapped watches the same holder with pkg/lock.
func (e *Env) watchCapped(client *redis.Client, ttl time.Duration) *step.Stage {
	prefix := e.Key(fresh("capped") + ":")
	var holder *Process
	var token int64
	next := e.nextLease("hung-holder.acquires", prefix, ttl, &token, func(waited time.Duration) step.Text {
		return step.T("hung-holder.acquires.got", waited)
	})
	ended := step.Step{Label: step.T("hung-holder.ended"), Do: func(ctx context.Context) (step.Result, error) {
		cause, err := holder.Await(ctx, "ended")
		return step.Result{Text: step.T("hung-holder.ended.got", cause)}, err
	}}
	hangs := e.hangs(&holder, "capped", client.Options().Addr, prefix, ttl.String())
	return &step.Stage{
		Actors: []*step.Actor{{Name: "A", Steps: []step.Step{hangs, ended}}, next},
		Order:  []string{"A", "B", "A"},
		Look:   []step.Looker{e.lookKeys(client, prefix)},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(token == 2, "hung-holder.capped.claim")
			return nil
		},
	}
}

// watchFrozen freezes a whole process, including its watchdog, while it holds a lease, and then lets it write.
func (e *Env) watchFrozen(ctx context.Context) (*step.Stage, error) {
	s, err := e.shelf(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, 10); err != nil {
		return nil, err
	}
	d, err := e.duel(ctx, s)
	if err != nil {
		return nil, err
	}
	stage := d.stage(
		"A lock", "A freezes", "expiry", "B lock", "B claim", "B read", "B write", "B commit",
		"A wakes", "A claim ? fence.ask.a-claims", "A read", "A write", "A commit")
	stage.End = func(ctx context.Context, end *step.Ending) error {
		left, err := s.left(ctx)
		end.Check(err == nil && d.sales.accepted == 1 && d.sales.refused == 1 && left == 9, "hung-holder.frozen.claim", left)
		return err
	}
	return stage, nil
}

// hangUncapped renews its key until it is killed. Args: address, key, TTL.
func hangUncapped(ctx context.Context, c *Child) error {
	client := redis.NewClient(&redis.Options{Addr: c.Args[0]})
	defer client.Close() //nolint:errcheck // nothing can be done about it
	ttl, err := time.ParseDuration(c.Args[2])
	if err != nil {
		return err
	}
	l := inventorylab.HandLock{Client: client, Key: c.Args[1], Value: "holder", TTL: ttl}
	if err := l.Lock(ctx); err != nil {
		return err
	}
	var renewals atomic.Int64
	defer l.Watch(ctx, func() { renewals.Add(1) })()
	c.Report("hangs")
	for {
		if _, err := c.Order(ctx); err != nil {
			return nil // the lesson has ended
		}
		c.Report("renewals %d", renewals.Load())
	}
}

// hangCapped holds a lease and never releases it. Args: address, prefix, TTL.
func hangCapped(ctx context.Context, c *Child) (err error) {
	ttl, err := time.ParseDuration(c.Args[2])
	if err != nil {
		return err
	}
	locker, closing, err := newLocker(c.Args[0], c.Args[1], lock.WithTTL(ttl), lock.WithMaxHold(2*ttl))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	lease, err := locker.Acquire(ctx, "k")
	if err != nil {
		return err
	}
	c.Report("hangs")
	<-lease.Context().Done()                             // only for the lesson's output: hung work does not check this
	c.Report("ended %v", context.Cause(lease.Context())) //nolint:contextcheck // The lease derives its context from ctx.
	<-ctx.Done()
	return nil
}
