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

	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/lock"
	"holdfast/pkg/wait"
)

func renewal() Lesson {
	return Lesson{
		Name:  "renewal",
		Title: "work that takes longer than the expiry has company",
		Run:   runRenewal,
	}
}

const (
	renewalTTL   = time.Second
	renewalWork  = 5 * renewalTTL / 2 // what the holder has to do
	renewalPairs = 10                 // keys, each wanted by two
)

func runRenewal(ctx context.Context, e *Env) error {
	client, err := e.Redis(ctx)
	if err != nil {
		return err
	}
	e.Step("%d keys, each wanted by two. The lock is SET NX PX %d; the first one's work takes %v.",
		renewalPairs, renewalTTL.Milliseconds(), renewalWork)
	plain := &rooms{take: func(ctx context.Context, key string) (context.Context, func(context.Context) error, error) {
		l := inventorylab.HandLock{Client: client, Key: e.Key(key), Value: rand.Text(), TTL: renewalTTL}
		err := l.Lock(ctx)
		return ctx, func(context.Context) error { return nil }, err // it leaves the key to its expiry
	}}
	if err := plain.run(ctx, e, "plain"); err != nil {
		return err
	}
	e.Check(plain.shared > 0, "without renewal: on %d of %d keys two were inside at once", plain.shared, renewalPairs)

	e.Step("The same with pkg/lock, TTL %v: a watchdog extends the key every %v while the work goes on.",
		renewalTTL, rounded(renewalTTL/3))
	seen := &renewals{}
	// A long margin: on a busy machine a holder that lost its lease needs time to notice, before the key can go.
	locker, err := e.locker(ctx, e.Key("leases:"), lock.WithTTL(renewalTTL), lock.WithMargin(renewalTTL/3), lock.WithObserver(seen))
	if err != nil {
		return err
	}
	renewed := &rooms{take: func(ctx context.Context, key string) (context.Context, func(context.Context) error, error) {
		lease, err := locker.Acquire(ctx, key)
		if err != nil {
			return nil, nil, err
		}
		return lease.Context(), lease.Release, nil
	}}
	if err := renewed.run(ctx, e, "renewed"); err != nil {
		return err
	}
	e.Show("%d renewals, %d leases lost", seen.done.Load(), seen.lost.Load())
	e.Check(renewed.shared == 0 && seen.done.Load() > 0, "with renewal: nobody met anybody")
	return nil
}

// rooms is one room behind each key, and whoever is in it.
type rooms struct {
	// take waits for the lock and returns the context of the work under it, and what gives it back.
	take func(ctx context.Context, key string) (context.Context, func(context.Context) error, error)

	mu     sync.Mutex
	shared int // rooms that two were in at once
	longer time.Duration
}

// run sends two into each room. The first works for long; the second looks in and goes.
func (r *rooms) run(ctx context.Context, e *Env, name string) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range renewalPairs {
		g.Go(func() error { return r.visit(ctx, fmt.Sprintf("%s-%d", name, i)) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if r.shared > 0 {
		e.Show("the second one came in while the first still worked: %d times; at worst both were there for %v",
			r.shared, rounded(r.longer))
	}
	return nil
}

func (r *rooms) visit(ctx context.Context, key string) error {
	work, release, err := r.take(ctx, key)
	if err != nil {
		return err
	}
	var inside atomic.Bool
	inside.Store(true)
	entered := make(chan struct{})
	var second error
	var company time.Time
	go func() {
		defer close(entered)
		_, leave, err := r.take(ctx, key)
		if err != nil {
			second = err
			return
		}
		if inside.Load() {
			company = time.Now()
		}
		second = leave(ctx)
	}()
	_ = wait.Sleep(work, renewalWork) // work ends with the lease: a worker that goes on is not alone
	inside.Store(false)
	left := time.Now()
	err = release(ctx)
	<-entered
	r.mu.Lock()
	defer r.mu.Unlock()
	if !company.IsZero() {
		r.shared++
		r.longer = max(r.longer, left.Sub(company))
	}
	return errors.Join(err, second)
}

// renewals counts what the watchdogs do.
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
