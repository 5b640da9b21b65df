package lesson

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/lock"
	"holdfast/pkg/wait"
)

func renewal() Lesson {
	return Lesson{Name: "renewal", Scenes: renewalScenes, Takes: []string{paramTTL, paramPause}}
}

const (
	renewalTTL   = time.Second
	renewalPairs = 10 // keys, each wanted by two clients
)

func renewalScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	client, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	ttl := e.ttl(renewalTTL)
	work, err := e.pause(5*ttl/2, ttl) // duration of the holder's work
	if err != nil {
		return nil, err
	}
	return []step.Scene{
		e.scene(step.T("renewal.plain", renewalPairs, ttl.Milliseconds(), work), func(context.Context) (*step.Stage, error) {
			plain := &sections{work: work, take: func(ctx context.Context, key string) (context.Context, release, error) {
				l := inventorylab.HandLock{Client: client, Key: e.Key(key), Value: rand.Text(), TTL: ttl}
				err := l.Lock(ctx)
				return ctx, func(context.Context) error { return nil }, err // the key is left to expire
			}}
			stage := plain.stage("renewal.plain.ask")
			stage.End = func(_ context.Context, end *step.Ending) error {
				end.Check(plain.shared > 0, "renewal.plain.claim", plain.shared, renewalPairs)
				return nil
			}
			return stage, nil
		}),
		e.scene(step.T("renewal.renewed", ttl, rounded(ttl/3)), func(ctx context.Context) (*step.Stage, error) {
			return e.renewed(ctx, ttl, work)
		}),
	}, nil
}

// renewed does the same with pkg/lock.
func (e *Env) renewed(ctx context.Context, ttl, work time.Duration) (*step.Stage, error) {
	seen := &renewals{}
	// The margin is long: on a busy machine a holder needs time to notice the lost lease before the key expires.
	locker, err := e.locker(ctx, e.Key("leases:"),
		lock.WithTTL(ttl), lock.WithMargin(ttl/3), lock.WithMaxHold(work+3*ttl), lock.WithObserver(seen))
	if err != nil {
		return nil, err
	}
	leases := &sections{work: work, take: func(ctx context.Context, key string) (context.Context, release, error) {
		lease, err := locker.Acquire(ctx, key)
		if err != nil {
			return nil, nil, err
		}
		return lease.Context(), lease.Release, nil
	}}
	stage := leases.stage("renewal.renewed.ask")
	stage.End = func(_ context.Context, end *step.Ending) error {
		end.Note("renewal.renewals", seen.done.Load(), seen.lost.Load())
		end.Check(leases.shared == 0 && seen.done.Load() > 0, "renewal.renewed.claim")
		return nil
	}
	return stage, nil
}

// release releases a lock.
type release func(context.Context) error

// sections counts the critical sections that two clients executed at the same time.
type sections struct {
	work time.Duration // of the first client
	// take waits for the lock. It returns the context for the work and a function that releases the lock.
	take func(ctx context.Context, key string) (context.Context, release, error)

	mu     sync.Mutex
	shared int // sections that two clients executed at the same time
	longer time.Duration
}

// stage lets two clients compete for each key. The first works for a long time; the second leaves immediately.
func (r *sections) stage(ask string) *step.Stage {
	name := fresh("pair")
	compete := step.Step{
		Label: step.T("renewal.work", renewalPairs, r.work), Ask: ask,
		Do: func(ctx context.Context) (step.Result, error) {
			g, gctx := errgroup.WithContext(ctx)
			for i := range renewalPairs {
				g.Go(func() error { return r.visit(gctx, fmt.Sprintf("%s-%d", name, i)) })
			}
			if err := g.Wait(); err != nil || r.shared == 0 {
				return step.Result{Text: step.T("renewal.work.none")}, err
			}
			return step.Result{Text: step.T("renewal.work.got", r.shared, rounded(r.longer))}, nil
		},
	}
	return &step.Stage{Actors: []*step.Actor{{Steps: []step.Step{compete}}}, Order: []string{""}}
}

func (r *sections) visit(ctx context.Context, key string) error {
	work, release, err := r.take(ctx, key)
	if err != nil {
		return err
	}
	var inside atomic.Bool
	inside.Store(true)
	entered := make(chan struct{})
	var second error
	var overlapped time.Time
	go func() {
		defer close(entered)
		_, leave, err := r.take(ctx, key)
		if err != nil {
			second = err
			return
		}
		if inside.Load() {
			overlapped = time.Now()
		}
		second = leave(ctx)
	}()
	_ = wait.Sleep(work, r.work) // work ends with the lease: a holder that continues is not alone
	inside.Store(false)
	left := time.Now()
	err = release(ctx)
	<-entered
	r.mu.Lock()
	defer r.mu.Unlock()
	if !overlapped.IsZero() {
		r.shared++
		r.longer = max(r.longer, left.Sub(overlapped))
	}
	return errors.Join(err, second)
}

// renewals counts the watchdogs' renewals and lost leases.
type renewals struct{ done, lost atomic.Int64 }

var _ lock.Observer = (*renewals)(nil)

// Waited implements lock.Observer.
func (r *renewals) Waited([]string, time.Duration, error) {}

// Renewed implements lock.Observer.
func (r *renewals) Renewed(_ []string, err error) {
	if err == nil {
		r.done.Add(1)
	}
}

// Lost implements lock.Observer.
func (r *renewals) Lost([]string, error) { r.lost.Add(1) }

// Released implements lock.Observer.
func (r *renewals) Released([]string, time.Duration, error) {}
