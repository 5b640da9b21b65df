package locktest

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast/pkg/lock"
)

// allOrNone: a waiter for two keys holds neither while one is missing. Where there are tickets the free one is kept for
// it in the end, and it gets both when the other one is free.
func allOrNone(t *testing.T, b Backend) {
	one, two := newKey(), newKey()
	if one > two {
		one, two = two, one // sorted, the free one is asked for first
	}
	first, second := open(t, b, long()...), open(t, b, long()...)
	for _, key := range []string{two, one} { // the second is missing, then the first
		free := map[string]string{one: two, two: one}[key]
		held := acquire(t, first, key)
		wantHeld(t, second, one, two)
		wantFree(t, first, free)
		both := acquiring(t, second, one, two)
		if b.Can.Tickets {
			eventually(t, "the free key is kept for the waiter", func() bool {
				lease, err := first.Try(within(t), free)
				if err == nil {
					release(t, lease)
				}
				return errors.Is(err, lock.ErrHeld)
			})
		} else {
			for range 20 {
				wantFree(t, first, free)
			}
		}
		release(t, held)
		release(t, await(t, both))
	}
	wantFree(t, first, one, two)
}

// oppositeOrders: callers that name the same keys in different orders do not deadlock.
func oppositeOrders(t *testing.T, b Backend) {
	one, two, three := newKey(), newKey(), newKey()
	var all sync.WaitGroup
	for _, keys := range [][]string{{one, two}, {two, one}, {two, three, one}} {
		l := open(t, b)
		back := slices.Clone(keys)
		slices.Reverse(back)
		for _, keys := range [][]string{keys, back, keys, back} { // also within one Locker, at its gates: it takes three
			all.Go(func() {
				for range 4 {
					lease, err := l.Acquire(within(t), keys...)
					if err != nil {
						t.Errorf("acquire: %v", err)
						return
					}
					if err := lease.Release(t.Context()); err != nil {
						t.Errorf("release: %v", err)
					}
				}
			})
		}
	}
	all.Wait()
}

// sameKeyTwice: a key named twice is one key.
func sameKeyTwice(t *testing.T, b Backend) {
	key, other := newKey(), newKey()
	l := open(t, b, long()...)
	lease := acquire(t, l, key, other, key)
	release(t, lease)
	wantFree(t, l, key, other)
}

// notReentrant: a Locker that holds a key is refused it like anybody else.
func notReentrant(t *testing.T, b Backend) {
	key := newKey()
	l := open(t, b, long()...)
	lease := acquire(t, l, key)
	wantHeld(t, l, key)
	release(t, lease)
}

// tokens: strictly increasing over all keys where they are promised, 0 where not; one for all keys of a lease, 0 for a
// key that it does not hold.
func tokens(t *testing.T, b Backend) {
	one, two := newKey(), newKey()
	lockers := []Locker{open(t, b, long()...), open(t, b, long()...)}
	var last int64
	for i := range 6 {
		keys := [][]string{{two, one}, {one}, {two}}[i%3]
		lease := acquire(t, lockers[i%2], keys...)
		got := lease.Token(keys[0])
		switch {
		case !b.Can.Tokens && got != 0:
			t.Errorf("token %d of a backend that has none", got)
		case b.Can.Tokens && got <= last:
			t.Errorf("token %d after %d", got, last)
		}
		for _, key := range keys {
			if other := lease.Token(key); other != got {
				t.Errorf("tokens %d and %d of one lease", got, other)
			}
		}
		if stranger := lease.Token(newKey()); stranger != 0 {
			t.Errorf("token %d for a key that is not held", stranger)
		}
		last = got
		release(t, lease)
	}
}

// badKeys are refused, and named, before anybody is asked.
func badKeys(t *testing.T, b Backend) {
	key := newKey()
	l := open(t, b, long()...)
	tooLong := strings.Repeat("x", 513)
	for _, keys := range [][]string{nil, {""}, {key, ""}, {tooLong}, {key, tooLong}} {
		if _, err := l.Acquire(within(t), keys...); !errors.Is(err, lock.ErrKeys) {
			t.Errorf("acquire %.30q = %v, want ErrKeys", keys, err)
		}
		if _, err := l.Try(within(t), keys...); !errors.Is(err, lock.ErrKeys) {
			t.Errorf("try %.30q = %v, want ErrKeys", keys, err)
		}
	}
	wantFree(t, l, key)
}

// oddKeys are different keys however alike they look, and however long they are.
func oddKeys(t *testing.T, b Backend) {
	key := newKey()
	long512 := strings.Repeat("x", 512-len(key)-1)
	odd := []string{
		key, key + " ", strings.ToLower(key), strings.ToUpper(key), key + "é", key + "e", key + "\x00", key + "\xff",
		key + "{a}", key + "}{", key + "'", `\` + key, "%" + key, "key:" + key, "fence:" + key,
		key + long512 + "a", key + long512 + "b",
	}
	first, second := open(t, b, long()...), open(t, b, long()...)
	for i, a := range odd {
		lease := acquire(t, first, a)
		wantHeld(t, second, a)
		if rest := append(append([]string{}, odd[:i]...), odd[i+1:]...); len(rest) > 0 {
			other, err := second.Try(within(t), rest...)
			if err != nil {
				t.Errorf("%.60q is held: try all others = %v", a, err)
			} else {
				release(t, other)
			}
		}
		release(t, lease)
	}
	release(t, acquire(t, first, odd...))
}
