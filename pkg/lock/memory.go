package lock

import (
	"context"
	"fmt"
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

// Memory is the Locker for unit tests: its keys live in this process. It behaves like [Redis] in all that its callers can
// see, tokens, wake-ups and expiry included, keeps the time of testing/synctest, and can be made to hang, to fail and to
// forget. It excludes nobody outside of this process.
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

// Peer returns another Locker on the same keys, as another process would have, with options and a queue of its own. It is
// closed on its own.
func (m *Memory) Peer(opts ...Option) (*Memory, error) { return newMemory(m.store, opts) }

// Intercept has f called before each operation of this Locker, not of its peers, with the keys. What f returns is returned
// instead of acting, as ErrUnavailable. f may also take its time, so that the backend hangs: ctx ends when the
// operation's time is over, but nobody forces f to obey. It must not call back into a Locker. A nil f ends it.
func (m *Memory) Intercept(f func(ctx context.Context, op Op, keys []string) error) {
	m.store.locked(func() { m.view.intercept = f })
}

// Evict removes the keys behind their holders' backs, as a lost write or a DEL by hand would. Nobody is woken.
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

// Expires returns until when the key is held if nobody renews it; zero when nobody holds it.
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
