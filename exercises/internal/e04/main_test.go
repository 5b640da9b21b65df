package e04_test

import (
	"os"
	"testing"

	"holdfast/internal/dev/testkit"
)

func TestMain(m *testing.M) {
	testkit.RunParallel(8)
	os.Exit(m.Run())
}
