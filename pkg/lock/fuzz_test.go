package lock_test

import (
	"errors"
	"testing"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/lock"
)

// FuzzKeys takes two keys of any spelling together and looks for keys that mean the same to Redis, or that spell
// another's counter.
func FuzzKeys(f *testing.F) {
	for _, seed := range [][2]string{
		{"SKU-1", "SKU-2"},
		{"a", "fence:a"},
		{"key:a", "a"},
		{"{a}b", "}{"},
		{"a\x00", "a"},
		{"\xff\xfe", "\n"},
		{"a b", "a"},
		{"same", "same"},
		{"*", "[a-z]?"},
	} {
		f.Add(seed[0], seed[1])
	}
	s := newServer(f, stacktest.Redis(f))
	holder, other := s.locker(f), s.locker(f)
	f.Fuzz(func(t *testing.T, a, b string) {
		lease, err := holder.Try(t.Context(), a, b)
		if a == "" || b == "" || max(len(a), len(b)) > 512 {
			if !errors.Is(err, lock.ErrKeys) {
				t.Errorf("try %q, %q = %v, want ErrKeys", a, b, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		before := [2]int64{lease.Token(a), lease.Token(b)}
		if before[0] < 1 || before[1] < 1 {
			t.Errorf("tokens of %q, %q are %v", a, b, before)
		}
		for _, key := range []string{a, b} {
			if _, err := other.Try(t.Context(), key); !errors.Is(err, lock.ErrHeld) {
				t.Errorf("a second holder of %q: %v", key, err)
			}
		}
		release(t, lease)
		second, err := other.Try(t.Context(), b, a)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]int64{second.Token(a), second.Token(b)}; got != [2]int64{before[0] + 1, before[1] + 1} {
			t.Errorf("tokens of %q, %q went from %v to %v", a, b, before, got)
		}
		release(t, second)
	})
}
