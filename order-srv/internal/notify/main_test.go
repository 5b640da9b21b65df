package notify_test

import (
	"os"
	"testing"

	"holdfast/internal/dev/testkit"
)

// TestMain: these tests wait for receivers and a database rather than compute.
func TestMain(m *testing.M) {
	testkit.RunParallel(8)
	os.Exit(m.Run())
}
