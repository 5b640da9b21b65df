package ladder_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"holdfast/internal/dev/ladder"
)

func TestMain(m *testing.M) {
	if ladder.IsHolder() {
		os.Exit(ladder.RunHolder())
	}
	// Shared servers live as long as this process; one goroutine for each waits for its end.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("holdfast/internal/dev/stack.watch.func1"))
}
