package strategytest

import (
	"flag"
	"testing"

	"holdfast/internal/dev/testkit"
)

// Main runs the tests of a package that uses the suite, and returns the exit status. It keeps rapid's part of a run
// short, because each of its steps is a durable commit. Flags on the command line win.
func Main(m *testing.M) int {
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
	return m.Run()
}
