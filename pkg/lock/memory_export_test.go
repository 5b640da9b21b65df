package lock

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Op is an operation of a backend, for [Memory.Intercept].
type Op string

// The operations. OpWake is the report of a freed key to waiters; if it fails they have to poll.
const (
	OpTake   Op = "take"
	OpExtend Op = "extend"
	OpDrop   Op = "drop"
	OpWake   Op = "wake"
)

// Memory is a Locker for the tests of this package: its keys live in this process. It behaves like [Redis] in all that
// its callers can see, tokens, wake-ups and expiry included, keeps the time of testing/synctest, and can be made to
// hang, to fail and to forget. It excludes no other process.
type Memory struct {
	*locker
	store *memoryStore
	view  *memoryBackend
}

var _ Locker = (*Memory)(nil)

// NewMemory returns a Locker with no keys held. It refuses options that cannot work and names the value.
func NewMemory(opts ...Option) (*Memory, error) {
	return newMemory(&memoryStore{
		holds: make(map[string]memoryHold), listeners: make(map[*memoryBackend]listener),
	}, opts)
}

func newMemory(store *memoryStore, opts []Option) (*Memory, error) {
	set, err := newSettings(opts)
	if err != nil {
		return nil, err
	}
	view := &memoryBackend{store: store}
	if err := view.check(set); err != nil {
		return nil, err
	}
	return &Memory{locker: newLocker(view, set), store: store, view: view}, nil
}

// Peer returns another Locker on the same keys, as another process would have, with options and a queue of its own. It
// is closed on its own.
func (m *Memory) Peer(opts ...Option) (*Memory, error) { return newMemory(m.store, opts) }

// Intercept has f called before each operation of this Locker, not of its peers, with the keys. What f returns is
// returned instead of acting, as ErrUnavailable. f may also take its time, so that the backend hangs: ctx ends when the
// operation's time is over, but f need not obey. It must not call back into a Locker. A nil f ends it.
func (m *Memory) Intercept(f func(ctx context.Context, op Op, keys []string) error) {
	m.store.locked(func() { m.view.intercept = f })
}

// Evict removes the keys without a report, as a lost write or a DEL by hand would.
func (m *Memory) Evict(keys ...string) {
	m.store.locked(func() {
		for _, key := range keys {
			delete(m.store.holds, key)
		}
	})
}

// Flush forgets everything, the token counter included, as FLUSHALL or a restart without persistence would.
func (m *Memory) Flush() {
	m.store.locked(func() {
		clear(m.store.holds)
		m.store.token = 0
	})
}

// Expires returns when the key expires unless it is renewed; zero when it is free.
func (m *Memory) Expires(key string) time.Time {
	var hold memoryHold
	m.store.locked(func() { hold = m.store.holds[key] })
	if !time.Now().Before(hold.expires) {
		return time.Time{}
	}
	return hold.expires
}

// Raise is [Redis.Raise].
func (m *Memory) Raise(ctx context.Context, key string, atLeast int64) error {
	if err := checkRaise(key, atLeast); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("raise token of %q: %w", key, err)
	}
	m.store.locked(func() { m.store.token = max(m.store.token, atLeast) })
	return nil
}

// memoryStore is what peers share.
type memoryStore struct {
	mu        sync.Mutex
	holds     map[string]memoryHold
	token     int64 // the last one drawn
	listeners map[*memoryBackend]listener
}

type memoryHold struct {
	claim   *memoryClaim
	expires time.Time
}

func (s *memoryStore) locked(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

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

// enter calls the interceptor.
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

// wake reports to all peers that the keys are free.
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
func (c *memoryClaim) take(ctx context.Context) (grant, error) {
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
