package groupcommit_test

import (
	"os"
	"testing"

	"holdfast/internal/dev/testkit"
)

func TestMain(m *testing.M) {
	testkit.RunParallel(4) // its tests wait for row locks
	os.Exit(m.Run())
}
