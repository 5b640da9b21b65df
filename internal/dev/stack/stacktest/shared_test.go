package stacktest_test

import (
	"slices"
	"testing"

	"holdfast/internal/dev/stack/stacktest"
)

// TestShared: concurrent first callers receive the same servers.
func TestShared(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "MySQL and Redis")
	for name, addrs := range map[string]func(testing.TB) []string{
		"MySQL":        func(tb testing.TB) []string { tb.Helper(); return []string{stacktest.MySQL(tb)} },
		"Redis":        func(tb testing.TB) []string { tb.Helper(); return []string{stacktest.Redis(tb)} },
		"RedlockNodes": stacktest.RedlockNodes,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var callers [4][]string
			t.Run("callers", func(t *testing.T) { // returns when its parallel tests have ended
				for i := range callers {
					t.Run("", func(t *testing.T) {
						t.Parallel()
						callers[i] = addrs(t)
					})
				}
			})
			for _, got := range callers {
				if len(got) == 0 || !slices.Equal(got, callers[0]) || len(slices.Compact(slices.Sorted(slices.Values(got)))) != len(got) {
					t.Errorf("callers received %q, want the same distinct servers", callers)
				}
			}
		})
	}
}
