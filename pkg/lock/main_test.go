package lock_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The shared Redis lives as long as this process; one goroutine waits for its end.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("holdfast/internal/stack.watch.func1"))
}
