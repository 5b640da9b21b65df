package lock

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// memoryBackend is a Locker's access to the store.
type memoryBackend struct {
	store *memoryStore
	set   settings
}

var (
	_ backend = (*memoryBackend)(nil)
	_ claim   = (*memoryClaim)(nil)
)

func (b *memoryBackend) claim(keys []string) claim { return &memoryClaim{backend: b, keys: keys} }

func (b *memoryBackend) listen(on listener) (stop func()) {
	s := b.store
	s.locked(func() { s.listeners = append(s.listeners, &on) })
	on.ready()
	return func() {
		s.locked(func() { s.listeners = slices.DeleteFunc(s.listeners, func(l *listener) bool { return l == &on }) })
	}
}

type memoryClaim struct {
	backend *memoryBackend
	keys    []string
}

// take implements claim. The time is counted from before the interceptor, as a command's is from before it was sent.
func (c *memoryClaim) take(ctx context.Context, _ time.Duration) (grant, error) {
	s, set, sent := c.backend.store, c.backend.set, time.Now()
	ctx, cancel := context.WithTimeout(ctx, set.callTimeout())
	defer cancel()
	if err := s.enter(ctx, OpTake, c.keys); err != nil {
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
	tokens := make(map[string]int64, len(c.keys))
	for _, key := range c.keys {
		s.tokens[key]++
		tokens[key] = s.tokens[key]
		s.holds[key] = memoryHold{claim: c, expires: now.Add(set.ttl)}
	}
	return grant{until: sent.Add(set.ttl - set.drift()), tokens: tokens}, nil
}

// extend implements claim.
func (c *memoryClaim) extend(ctx context.Context, ttl time.Duration) (time.Time, error) {
	s, set, sent := c.backend.store, c.backend.set, time.Now()
	ctx, cancel := context.WithTimeout(ctx, set.callTimeout())
	defer cancel()
	if err := s.enter(ctx, OpExtend, c.keys); err != nil {
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
	s := c.backend.store
	if err := s.enter(ctx, OpDrop, c.keys); err != nil {
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
	for _, key := range freed {
		s.wake(ctx, key)
	}
	if len(freed) < len(c.keys) {
		return fmt.Errorf("%w: a key was gone or another owner's at the end", ErrLost)
	}
	return nil
}

// holds reports whether the key is ours; the caller has locked the store.
func (c *memoryClaim) holds(key string) bool {
	hold := c.backend.store.holds[key]
	return hold.claim == c && time.Now().Before(hold.expires)
}
