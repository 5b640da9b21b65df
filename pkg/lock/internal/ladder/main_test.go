package ladder_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"holdfast/pkg/lock/internal/ladder"
)

func TestMain(m *testing.M) {
	if ladder.IsHolder() {
		os.Exit(ladder.RunHolder())
	}
	// Shared servers live as long as this process; one goroutine for each waits for its end.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("holdfast/internal/stack.watch.func1"))
}
