package lock

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Fake is an in-memory backend whose answers a test decides. It lives in this package because the seam it stands on is
// not exported; the tests that use it are outside.
type Fake struct {
	set settings

	mu       sync.Mutex
	holds    map[string]fakeHold
	counters map[string]int64
	on       listener

	// The hooks run before the fake acts, without its mutex; an error is returned instead of acting. Set them through Locked.
	OnTake, OnExtend, OnDrop func(ctx context.Context) error

	Takes, Extends, Drops int  // calls so far; read them through Calls
	overlapped            bool // two calls of one claim at a time
	mute                  bool // freed keys are not reported
}

type fakeHold struct {
	claim   *fakeClaim
	expires time.Time
}

var _ backend = (*Fake)(nil)

// NewFake returns a Locker over a Fake, and a function that closes it.
func NewFake(opts ...Option) (*Fake, Locker, func()) {
	set, err := newSettings(opts)
	if err != nil {
		panic(err)
	}
	f := &Fake{set: set, holds: make(map[string]fakeHold), counters: make(map[string]int64)}
	l := newLocker(f, set)
	return f, l, l.close
}

// WithPoll sets the fallback poll, so that a test can tell it from a wake-up.
func WithPoll(d time.Duration) Option { return func(s *settings) { s.poll = d } }

// Mute makes the fake lose all reports of freed keys.
func (f *Fake) Mute() { f.Locked(func() { f.mute = true }) }

// Calls returns how often the methods of claims were called, and whether two of one claim ever overlapped.
func (f *Fake) Calls() (takes, extends, drops int, overlapped bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Takes, f.Extends, f.Drops, f.overlapped
}

// Expires returns when the key's hold ends; zero when nobody holds it.
func (f *Fake) Expires(key string) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.holds[key].expires
}

// Steal removes the key's hold behind its holder's back.
func (f *Fake) Steal(key string) { f.Locked(func() { delete(f.holds, key) }) }

// Flush removes all holds and all token counters.
func (f *Fake) Flush() { f.Locked(func() { clear(f.holds); clear(f.counters) }) }

// Locked runs do under the mutex that guards the hooks.
func (f *Fake) Locked(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *Fake) claim(keys []string) claim { return &fakeClaim{fake: f, keys: keys} }

func (f *Fake) listen(on listener) func() {
	f.Locked(func() { f.on = on })
	on.ready()
	return func() {}
}

type fakeClaim struct {
	fake *Fake
	keys []string
	busy bool
}

// enter counts the call and marks the claim as busy until the returned function is called.
func (c *fakeClaim) enter(calls *int) (leave func()) {
	c.fake.Locked(func() {
		*calls++
		c.fake.overlapped = c.fake.overlapped || c.busy
		c.busy = true
	})
	return func() { c.fake.Locked(func() { c.busy = false }) }
}

func (c *fakeClaim) take(ctx context.Context) (grant, error) {
	defer c.enter(&c.fake.Takes)()
	sent := time.Now()
	if err := c.fake.hook(ctx, &c.fake.OnTake); err != nil {
		return grant{}, err
	}
	f, now := c.fake, time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range c.keys {
		if h, ok := f.holds[key]; ok && now.Before(h.expires) {
			return grant{}, &heldError{left: h.expires.Sub(now)}
		}
	}
	tokens := make(map[string]int64)
	for _, key := range c.keys {
		f.counters[key]++
		tokens[key] = f.counters[key]
		f.holds[key] = fakeHold{claim: c, expires: now.Add(f.set.ttl)}
	}
	return grant{until: sent.Add(f.set.ttl - f.set.drift()), tokens: tokens}, nil
}

func (c *fakeClaim) extend(ctx context.Context, ttl time.Duration) (time.Time, error) {
	defer c.enter(&c.fake.Extends)()
	now := time.Now()
	if err := c.fake.hook(ctx, &c.fake.OnExtend); err != nil {
		return time.Time{}, err
	}
	f := c.fake
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range c.keys {
		if f.holds[key].claim != c {
			return time.Time{}, fmt.Errorf("%w: not mine", ErrLost)
		}
	}
	for _, key := range c.keys {
		f.holds[key] = fakeHold{claim: c, expires: now.Add(ttl)}
	}
	return now.Add(ttl - f.set.drift()), nil
}

func (c *fakeClaim) drop(ctx context.Context) error {
	defer c.enter(&c.fake.Drops)()
	if err := c.fake.hook(ctx, &c.fake.OnDrop); err != nil {
		return err
	}
	f := c.fake
	f.mu.Lock()
	var err error
	for _, key := range c.keys {
		if f.holds[key].claim != c {
			err = ErrLost
			continue
		}
		delete(f.holds, key)
	}
	on := f.on
	if f.mute {
		on = listener{}
	}
	f.mu.Unlock()
	if on.freed != nil {
		for _, key := range c.keys {
			on.freed(key)
		}
	}
	return err
}

func (f *Fake) hook(ctx context.Context, h *func(context.Context) error) error {
	f.mu.Lock()
	do := *h
	f.mu.Unlock()
	if do == nil {
		return nil
	}
	return do(ctx)
}
