package e04

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"holdfast/exercises/internal/explore"
)

// The actors of stage 4. What the lock does while the work runs is done by the goroutine that renews.
const (
	holder   = "A"
	watchdog = "A: Renew"
	other    = "B"
)

// patience is how long a scene waits for what a right lock does at once. It decides nothing about a right lock; a lock
// that does nothing lets it pass.
const patience = 5 * time.Second

// play is one scene of stage 4: a call of Do, whose work leads it through.
type play struct {
	world *world
	cable *cable
	lock  Lock

	mu      sync.Mutex
	steps   []explore.Step
	working bool
	naps    []*nap        // the sleeps that have not ended
	changed chan struct{} // gets a value when naps has changed
}

// nap is a call of Sleep that waits for the scene to wake it.
type nap struct {
	ctx  context.Context //nolint:containedctx // of the call
	d    time.Duration
	wake chan struct{}
}

func (w *world) play(ctx context.Context) (*play, error) {
	if err := w.reset(ctx); err != nil {
		return nil, err
	}
	p := &play{world: w, cable: &cable{}, changed: make(chan struct{}, 1)}
	options := *w.admin.Options()
	options.Dialer, options.MaxRetries, options.MinIdleConns = p.cable.dial, -1, 0
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	client := redis.NewClient(&options)
	client.AddHook(recorder{p})
	p.cable.client = client
	p.lock = w.learner.New(client, p, w.key, ttl, maxHold)
	return p, nil
}

// record appends a step.
func (p *play) record(actor, does, result string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps = append(p.steps, explore.Step{Actor: actor, Kind: explore.Other, Does: does, Result: result})
}

// actor returns whose step a command is that begins now.
func (p *play) actor() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.working {
		return watchdog
	}
	return holder
}

// last returns the number of the last step.
func (p *play) last() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.steps)
}

// outcome is what came of a call of Do.
type outcome struct {
	err      error
	called   bool // work was called
	panicked any
	returned bool
	sleeping bool // when Do returned, a call of Sleep waited whose context had not ended
}

// do calls the learner's Do and waits until it returns, or for patience after the work has.
func (p *play) do(ctx context.Context, work func(ctx context.Context) error) outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done, worked := make(chan outcome, 1), make(chan struct{})
	var called atomic.Bool
	go func() {
		var o outcome
		defer func() {
			o.panicked, o.called, o.returned = recover(), called.Load(), true
			n := p.nap()
			o.sleeping = n != nil && n.ctx.Err() == nil
			done <- o
		}()
		o.err = p.lock.Do(ctx, func(ctx context.Context) error {
			if called.Swap(true) {
				return errors.New("work was called twice")
			}
			p.setWorking(true)
			defer func() { p.setWorking(false); close(worked) }()
			return work(ctx)
		})
	}()
	select {
	case o := <-done:
		return o
	case <-worked:
	}
	select {
	case o := <-done:
		return o
	case <-time.After(patience):
	}
	cancel() // whoever waits for the renewal to end waits for its context
	select {
	case <-done:
	case <-time.After(patience):
	}
	return outcome{called: true}
}

func (p *play) setWorking(working bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.working = working
}

// Now implements Clock.
func (p *play) Now() time.Time {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	return p.world.now
}

// Sleep implements Clock: it returns when the scene wakes it.
func (p *play) Sleep(ctx context.Context, d time.Duration) error {
	n := &nap{ctx: ctx, d: d, wake: make(chan struct{})}
	p.change(func() { p.naps = append(p.naps, n) })
	defer p.change(func() {
		for i, other := range p.naps {
			if other == n {
				p.naps = append(p.naps[:i], p.naps[i+1:]...)
				break
			}
		}
	})
	select {
	case <-n.wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *play) change(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	do()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// asleep returns the sleep that waits, other than before. Nil: none within the patience, or ctx has ended first.
func (p *play) asleep(ctx context.Context, before *nap) *nap {
	deadline := time.After(patience)
	for {
		if n := p.nap(); n != nil && n != before {
			return n
		}
		select {
		case <-p.changed:
		case <-ctx.Done():
			return nil
		case <-deadline:
			return nil
		}
	}
}

// nap returns the last sleep that waits. Nil: none.
func (p *play) nap() *nap {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.naps) == 0 {
		return nil
	}
	return p.naps[len(p.naps)-1]
}

// wake has the time of the sleep pass and ends it.
func (p *play) wake(ctx context.Context, n *nap) error {
	result, err := p.pass(context.WithoutCancel(ctx), n.d)
	p.record(watchdog, fmt.Sprintf("Sleep(%s)", n.d), result)
	close(n.wake)
	return err
}

// pass lets time pass.
func (p *play) pass(ctx context.Context, d time.Duration) (result string, err error) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	return p.world.advance(ctx, d)
}

// taken gives the lock to B, as its Acquire would.
func (p *play) taken(ctx context.Context) error {
	err := p.world.admin.Set(ctx, p.world.key, other, ttl).Err()
	p.world.mu.Lock()
	p.world.stored = other
	p.world.mu.Unlock()
	p.record(other, fmt.Sprintf("SET %s %s NX PX %d", p.world.key, other, ttl.Milliseconds()), "OK")
	return err
}
