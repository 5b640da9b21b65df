package testkit

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
)

// RunParallel lets at least n parallel tests of this process run at once, unless the flag -parallel chooses another
// number. TestMain calls it before m.Run.
//
// It is for packages whose tests wait for timers and servers. go test runs as many tests at once as there are
// processors, which is right for tests that compute: tests that wait would leave a small machine idle. A larger n for
// tests that compute gains nothing, and each of them takes so long that deadlines in it expire.
func RunParallel(n int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return
	}
	if err := flag.Set("test.parallel", strconv.Itoa(max(n, runtime.GOMAXPROCS(0)))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
