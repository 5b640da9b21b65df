package lock_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"holdfast/internal/dev/testkit"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		// An example cannot skip itself, and one that did not look at its output would prove nothing.
		if err := flag.Set("test.skip", "^Example"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("examples skipped: they need Redis and MySQL; -short runs without servers")
	}
	testkit.RunParallel(8) // its tests wait for leases to expire
	// The shared servers live as long as this process; one goroutine for each waits for its end.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("holdfast/internal/dev/stack.watch.func1"))
}
