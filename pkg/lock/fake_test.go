package lock_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"holdfast/pkg/lock"
)

// fake is a Memory whose answers a test decides, and which counts its calls.
type fake struct {
	*lock.Memory

	mu         sync.Mutex
	hooks      map[lock.Op]func(ctx context.Context) error
	calls      map[lock.Op]int
	busy       map[string]bool // by key
	overlapped bool            // two calls for one key at a time
}

func newFake(t *testing.T, opts ...lock.Option) *fake {
	t.Helper()
	memory, err := lock.NewMemory(opts...)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{
		Memory: memory, hooks: make(map[lock.Op]func(context.Context) error),
		calls: make(map[lock.Op]int), busy: make(map[string]bool),
	}
	memory.Intercept(f.intercept)
	return f
}

func (f *fake) intercept(ctx context.Context, op lock.Op, keys []string) error {
	var hook func(context.Context) error
	f.locked(func() {
		hook = f.hooks[op]
		f.calls[op]++
		f.overlapped = f.overlapped || f.busy[keys[0]]
		f.busy[keys[0]] = true
	})
	defer f.locked(func() { f.busy[keys[0]] = false })
	if hook == nil {
		return nil
	}
	return hook(ctx)
}

func (f *fake) locked(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// on sets what an operation does before it acts; an error is returned instead of acting. nil ends it.
func (f *fake) on(op lock.Op, hook func(ctx context.Context) error) {
	f.locked(func() { f.hooks[op] = hook })
}

// mute loses all reports of freed keys.
func (f *fake) mute() {
	f.on(lock.OpWake, func(context.Context) error { return errors.New("nobody hears it") })
}

func (f *fake) count(op lock.Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

func (f *fake) close(t *testing.T) {
	t.Helper()
	for range 2 {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// expires returns in how long the key is free if nothing happens; zero when it is.
func (f *fake) expires(key string) time.Duration {
	if at := f.Expires(key); !at.IsZero() {
		return time.Until(at)
	}
	return 0
}
