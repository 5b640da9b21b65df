package strategy_test

import (
	"flag"
	"os"
	"testing"

	"holdfast/internal/dev/testkit"
)

// TestMain keeps rapid's part of a run short: each of its steps is a durable commit. Flags on the command line win.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { asked[f.Name] = true })
	for name, value := range map[string]string{"rapid.checks": "12", "rapid.steps": "25"} {
		if !asked[name] {
			if err := flag.Set(name, value); err != nil {
				panic(err)
			}
		}
	}
	testkit.RunParallel(4) // half of the time its tests wait for durable commits and locks
	os.Exit(m.Run())
}
