package redisstock_test

import (
	"testing"

	"holdfast/inventory-srv/internal/redisstock"
)

// TestBefore compares ids as Redis does: as numbers, not as text.
func TestBefore(t *testing.T) {
	t.Parallel()
	ids := []string{"", "9-0", "9-1", "9-10", "10-0", "1764000000000-0", "1764000000000-2", "1764000000001-0"}
	for i, a := range ids {
		for j, b := range ids {
			if got := redisstock.Before(a, b); got != (i < j) {
				t.Errorf("%q before %q: %v", a, b, got)
			}
		}
	}
}
