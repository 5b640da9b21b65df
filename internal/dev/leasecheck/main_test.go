package leasecheck_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"holdfast/internal/dev/leasecheck"
)

func TestMain(m *testing.M) {
	if leasecheck.IsHolder() {
		os.Exit(leasecheck.RunHolder())
	}
	// Shared servers live as long as this process; one goroutine for each waits for its end.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("holdfast/internal/dev/stack.watch.func1"))
}
