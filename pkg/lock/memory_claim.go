package lock

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// memoryBackend is one Locker's access to the store.
type memoryBackend struct {
	store     *memoryStore
	intercept func(context.Context, Op, []string) error // guarded by the store's mutex
}

var (
	_ backend = (*memoryBackend)(nil)
	_ claim   = (*memoryClaim)(nil)
)

func (b *memoryBackend) check(set settings) error { return set.refuseReplicas("Memory") }

func (b *memoryBackend) claim(keys []string, set settings) claim {
	return &memoryClaim{backend: b, set: set, keys: keys}
}

func (b *memoryBackend) listen(on listener) (stop func()) {
	b.store.locked(func() { b.store.listeners[b] = on })
	on.ready()
	return func() { b.store.locked(func() { delete(b.store.listeners, b) }) }
}

// enter lets the interceptor have its say.
func (b *memoryBackend) enter(ctx context.Context, op Op, keys []string) error {
	var f func(context.Context, Op, []string) error
	b.store.locked(func() { f = b.intercept })
	if f == nil {
		return nil
	}
	if err := f(ctx, op, keys); err != nil {
		return unavailable(err)
	}
	return nil
}

// wake tells all peers that the keys are free.
func (s *memoryStore) wake(ctx context.Context, keys []string) {
	var peers []*memoryBackend
	s.locked(func() { peers = slices.Collect(maps.Keys(s.listeners)) })
	for _, peer := range peers {
		for _, key := range keys {
			if peer.enter(ctx, OpWake, []string{key}) != nil {
				continue
			}
			s.locked(func() {
				if on, ok := s.listeners[peer]; ok {
					on.freed(key)
				}
			})
		}
	}
}

type memoryClaim struct {
	backend *memoryBackend
	set     settings
	keys    []string
}

// take implements claim. The time is counted from before the interceptor, as a command's is from before it was sent.
func (c *memoryClaim) take(ctx context.Context, _ time.Duration) (grant, error) {
	b, s, set, sent := c.backend, c.backend.store, c.set, time.Now()
	ctx, cancel := context.WithTimeout(ctx, set.callTimeout())
	defer cancel()
	if err := b.enter(ctx, OpTake, c.keys); err != nil {
		return grant{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var held *heldError
	for _, key := range c.keys {
		if left := s.holds[key].expires.Sub(now); left > 0 && (held == nil || left > held.left) {
			held = &heldError{left: left}
		}
	}
	if held != nil {
		return grant{}, held
	}
	s.token++
	for _, key := range c.keys {
		s.holds[key] = memoryHold{claim: c, expires: now.Add(set.ttl)}
	}
	return grant{until: sent.Add(set.ttl - set.drift()), token: s.token}, nil
}

// extend implements claim.
func (c *memoryClaim) extend(ctx context.Context, ttl time.Duration) (time.Time, error) {
	b, s, set, sent := c.backend, c.backend.store, c.set, time.Now()
	ctx, cancel := context.WithTimeout(ctx, set.callTimeout())
	defer cancel()
	if err := b.enter(ctx, OpExtend, c.keys); err != nil {
		return time.Time{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range c.keys {
		if !c.holds(key) {
			return time.Time{}, fmt.Errorf("%w: the key is gone or another owner's", ErrLost)
		}
	}
	for _, key := range c.keys {
		s.holds[key] = memoryHold{claim: c, expires: time.Now().Add(ttl)}
	}
	return sent.Add(ttl - set.drift()), nil
}

// drop implements claim.
func (c *memoryClaim) drop(ctx context.Context) error {
	b, s := c.backend, c.backend.store
	if err := b.enter(ctx, OpDrop, c.keys); err != nil {
		return err
	}
	var freed []string
	s.locked(func() {
		for _, key := range c.keys {
			if c.holds(key) {
				delete(s.holds, key)
				freed = append(freed, key)
			}
		}
	})
	s.wake(ctx, freed)
	if len(freed) < len(c.keys) {
		return fmt.Errorf("%w: a key was gone or another owner's at the end", ErrLost)
	}
	return nil
}

// giveUp implements claim: Memory keeps nothing for waiters.
func (c *memoryClaim) giveUp(context.Context) {}

// holds reports whether the key is ours; the caller has locked the store.
func (c *memoryClaim) holds(key string) bool {
	hold := c.backend.store.holds[key]
	return hold.claim == c && time.Now().Before(hold.expires)
}
