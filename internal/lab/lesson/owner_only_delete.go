package lesson

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/lock"
)

func ownerOnlyDelete() Lesson {
	return Lesson{Name: "owner-only-delete", Scenes: ownerScenes, Takes: []string{paramTTL}}
}

// shortTTL makes a holder late quickly.
const shortTTL = 300 * time.Millisecond

// compareAndDelete deletes the key only if it holds the value.
const compareAndDelete = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`

func ownerScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	client, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	byDelete := func(ctx context.Context, a inventorylab.HandLock) (int64, error) { return a.Unlock(ctx) }
	byScript := func(ctx context.Context, a inventorylab.HandLock) (int64, error) {
		return client.Eval(ctx, compareAndDelete, []string{a.Key}, a.Value).Int64()
	}
	ttl := e.unrenewed(shortTTL)
	stage := func(l *latecomer, ask, claim string, freesB bool) func(context.Context) (*step.Stage, error) {
		return func(context.Context) (*step.Stage, error) { return l.open(ask, claim, freesB), nil }
	}
	return []step.Scene{
		e.scene(step.T("owner-only-delete.del", ttl), stage(&latecomer{e: e, client: client, ttl: ttl, unlock: byDelete},
			"owner-only-delete.unlock.ask", "owner-only-delete.del.claim", true)),
		e.scene(step.T("owner-only-delete.get"), func(context.Context) (*step.Stage, error) {
			return e.getThenDelete(client, ttl), nil
		}),
		e.scene(step.T("owner-only-delete.compare"), stage(&latecomer{e: e, client: client, ttl: ttl, unlock: byScript},
			"owner-only-delete.unlock.ask", "owner-only-delete.compare.claim", false)),
		e.scene(step.T("owner-only-delete.lease"), func(ctx context.Context) (*step.Stage, error) {
			return e.lateLease(ctx, client)
		}),
	}, nil
}

// latecomer is a holder A who outlives its key, and unlocks with the given function.
type latecomer struct {
	e      *Env
	client *redis.Client
	ttl    time.Duration
	unlock func(context.Context, inventorylab.HandLock) (int64, error)
}

// open returns the stage on which A unlocks when B holds the lock. freesB is what it must come to.
func (l *latecomer) open(ask, claim string, freesB bool) *step.Stage {
	a := inventorylab.HandLock{Client: l.client, Key: l.e.Key(fresh("late")), Value: "A", TTL: l.ttl}
	var deleted int64
	var entered bool
	unlock := step.Step{
		Label: step.T("owner-only-delete.unlock"), Ask: ask,
		Do: func(ctx context.Context) (_ step.Result, err error) {
			deleted, err = l.unlock(ctx, a)
			return step.Result{Text: step.T("owner-only-delete.unlock.got", deleted)}, err
		},
	}
	enters := step.Step{
		Label: step.T("owner-only-delete.set"), Ask: "owner-only-delete.set.ask.C",
		Do: func(ctx context.Context) (_ step.Result, err error) {
			if entered, err = otherHolder(a, "C").Try(ctx); entered {
				return step.Result{Text: step.T("owner-only-delete.set.both")}, err
			}
			return step.Result{Text: step.T("owner-only-delete.set.nil")}, err
		},
	}
	stage := l.e.lateStage(l.client, a, unlock)
	stage.Actors = append(stage.Actors, &step.Actor{Name: "C", Steps: []step.Step{enters}})
	stage.Order = append(stage.Order, "C")
	stage.End = func(_ context.Context, end *step.Ending) error {
		end.Check((deleted == 1) == freesB && entered == freesB, claim)
		return nil
	}
	return stage
}

// lateStage has A, which locks and, after its key has expired and B has locked, executes its last step.
func (e *Env) lateStage(client *redis.Client, a inventorylab.HandLock, last ...step.Step) *step.Stage {
	locks := step.Step{
		Label: step.T("owner-only-delete.set"),
		Do: func(ctx context.Context) (step.Result, error) {
			return step.Result{Text: step.T("owner-only-delete.set.got")}, a.Lock(ctx)
		},
	}
	gone := step.T("owner-only-delete.expires")
	expires := step.Step{Label: gone, Do: e.expires(gone, client, a.Key)}
	takes := step.Step{
		Label: step.T("owner-only-delete.set"), Ask: "owner-only-delete.set.ask.B",
		Do: func(ctx context.Context) (step.Result, error) {
			return step.Result{Text: step.T("owner-only-delete.set.holds")}, otherHolder(a, "B").Lock(ctx)
		},
	}
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: append([]step.Step{locks}, last...)},
			{Steps: []step.Step{expires}},
			{Name: "B", Steps: []step.Step{takes}},
		},
		Order: []string{"A", "", "B", "A"},
		Look:  []step.Looker{e.lookKeys(client, a.Key)},
	}
}

// otherHolder returns the same lock for another holder, with a long expiry.
func otherHolder(l inventorylab.HandLock, value string) inventorylab.HandLock {
	l.Value, l.TTL = value, thinking
	return l
}

// getThenDelete shows the incomplete cure: GET and DEL are two commands, and another client can take the key in
// between.
func (e *Env) getThenDelete(client *redis.Client, ttl time.Duration) *step.Stage {
	a := inventorylab.HandLock{Client: client, Key: e.Key(fresh("get")), Value: "A", TTL: ttl}
	var owner string
	var deleted int64
	get := step.Step{
		Label: step.T("owner-only-delete.mine"),
		Do: func(ctx context.Context) (_ step.Result, err error) {
			owner, err = client.Get(ctx, a.Key).Result()
			return step.Result{Text: step.T("owner-only-delete.mine.got", owner)}, err
		},
	}
	del := step.Step{
		Label: step.T("owner-only-delete.delete"), Ask: "owner-only-delete.delete.ask",
		Do: func(ctx context.Context) (_ step.Result, err error) {
			deleted, err = a.Unlock(ctx)
			return step.Result{Text: step.T("owner-only-delete.delete.got", deleted)}, err
		},
	}
	stage := e.lateStage(client, a, get, del)
	stage.Order = []string{"A", "A", "", "B", "A"}
	stage.End = func(_ context.Context, end *step.Ending) error {
		end.Check(owner == "A" && deleted == 1, "owner-only-delete.get.claim")
		return nil
	}
	return stage
}

// lateLease shows the error that pkg/lock returns to a late holder.
func (e *Env) lateLease(ctx context.Context, client *redis.Client) (*step.Stage, error) {
	prefix := e.Key(fresh("leases") + ":")
	locker, err := e.locker(ctx, prefix, lock.WithTTL(e.patience(time.Minute)))
	if err != nil {
		return nil, err
	}
	var a, b *lock.Lease
	var late error
	acquire := func(lease **lock.Lease) func(context.Context) (step.Result, error) {
		return func(ctx context.Context) (_ step.Result, err error) {
			*lease, err = locker.Acquire(ctx, "k")
			return step.Result{}, err
		}
	}
	ends := step.Step{
		Label: step.T("owner-only-delete.gone"),
		Do: func(ctx context.Context) (step.Result, error) {
			// Same effect as an expiry, without waiting for it.
			return step.Result{}, client.Del(ctx, lockName(prefix, "k")).Err()
		},
	}
	release := step.Step{
		Label: step.T("owner-only-delete.release"), Ask: "owner-only-delete.release.ask",
		Do: func(ctx context.Context) (step.Result, error) {
			late = a.Release(ctx)
			return step.Result{Text: step.T("owner-only-delete.release.got", late)}, nil
		},
	}
	label := step.T("owner-only-delete.acquire")
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{{Label: label, Do: acquire(&a)}, release}},
			{Steps: []step.Step{ends}},
			{Name: "B", Steps: []step.Step{{Label: label, Do: acquire(&b)}}},
		},
		Order: []string{"A", "", "B", "A"},
		Look:  []step.Looker{e.lookKeys(client, prefix)},
		End: func(ctx context.Context, end *step.Ending) error {
			held, err := client.Exists(ctx, lockName(prefix, "k")).Result()
			end.Check(err == nil && errors.Is(late, lock.ErrLost) && held == 1, "owner-only-delete.lease.claim")
			return errors.Join(err, b.Release(ctx))
		},
	}, nil
}
