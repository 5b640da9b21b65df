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
		Title: "work that outlasts the expiry is not alone",
		Run:   runRenewal,
	}
}

const (
	renewalTTL   = time.Second
	renewalWork  = 5 * renewalTTL / 2 // duration of the holder's work
	renewalPairs = 10                 // keys, each wanted by two clients
)

func runRenewal(ctx context.Context, e *Env) error {
	client, err := e.Redis(ctx)
	if err != nil {
		return err
	}
	e.Step("%d keys, each wanted by two clients. The lock is SET NX PX %d; the first client works for %v.",
		renewalPairs, renewalTTL.Milliseconds(), renewalWork)
	plain := &sections{take: func(ctx context.Context, key string) (context.Context, func(context.Context) error, error) {
		l := inventorylab.HandLock{Client: client, Key: e.Key(key), Value: rand.Text(), TTL: renewalTTL}
		err := l.Lock(ctx)
		return ctx, func(context.Context) error { return nil }, err // the key is left to expire
	}}
	if err := plain.run(ctx, e, "plain"); err != nil {
		return err
	}
	e.Check(plain.shared > 0, "without renewal: on %d of %d keys two clients worked at the same time", plain.shared, renewalPairs)

	e.Step("The same with pkg/lock, TTL %v: a watchdog extends the key every %v during the work.",
		renewalTTL, rounded(renewalTTL/3))
	seen := &renewals{}
	// The margin is long: on a busy machine a holder needs time to notice the lost lease before the key expires.
	locker, err := e.locker(ctx, e.Key("leases:"), lock.WithTTL(renewalTTL), lock.WithMargin(renewalTTL/3), lock.WithObserver(seen))
	if err != nil {
		return err
	}
	renewed := &sections{take: func(ctx context.Context, key string) (context.Context, func(context.Context) error, error) {
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
	e.Check(renewed.shared == 0 && seen.done.Load() > 0, "with renewal: no two clients worked at the same time")
	return nil
}

// sections counts the critical sections that two clients executed at the same time.
type sections struct {
	// take waits for the lock. It returns the context for the work and a function that releases the lock.
	take func(ctx context.Context, key string) (context.Context, func(context.Context) error, error)

	mu     sync.Mutex
	shared int // sections that two clients executed at the same time
	longer time.Duration
}

// run lets two clients compete for each key. The first works for a long time; the second leaves immediately.
func (r *sections) run(ctx context.Context, e *Env, name string) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range renewalPairs {
		g.Go(func() error { return r.visit(ctx, fmt.Sprintf("%s-%d", name, i)) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if r.shared > 0 {
		e.Show("the second client entered while the first still worked: %d times; at most both worked for %v",
			r.shared, rounded(r.longer))
	}
	return nil
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
	_ = wait.Sleep(work, renewalWork) // work ends with the lease: a holder that continues is not alone
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
