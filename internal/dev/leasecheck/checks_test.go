package leasecheck_test

import (
	"testing"

	"holdfast/internal/dev/leasecheck"
)

// TestChecks runs on the real lock what TestMutants of pkg/lock runs on broken ones.
func TestChecks(t *testing.T) {
	t.Parallel()
	for _, check := range leasecheck.Checks() {
		t.Run(check.Name, func(t *testing.T) {
			t.Parallel()
			if err := check.Run(t, leasecheck.Real()); err != nil {
				t.Error(err)
			}
		})
	}
}
