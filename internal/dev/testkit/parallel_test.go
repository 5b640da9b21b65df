package testkit_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"holdfast/internal/dev/testkit"
)

// asPackage is set in a process that plays a package whose tests wait.
const asPackage = "TESTKIT_RUN_PARALLEL"

func TestMain(m *testing.M) {
	if os.Getenv(asPackage) != "" {
		testkit.RunParallel(1000)
	}
	os.Exit(m.Run())
}

func TestRunParallel(t *testing.T) {
	t.Parallel()
	const mark = "tests at once: "
	if os.Getenv(asPackage) != "" {
		fmt.Println(mark + flag.Lookup("test.parallel").Value.String())
		return
	}
	for _, tt := range []struct {
		name  string
		flags []string
		want  string
	}{
		{"a package whose tests wait", nil, "1000"},
		{"with -parallel", []string{"-test.parallel=3"}, "3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"-test.run=^TestRunParallel$"}, tt.flags...)...)
			cmd.Env = append(os.Environ(), asPackage+"=1")
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), mark+tt.want+"\n") {
				t.Errorf("got %s, error %v; want %s tests at once", out, err, tt.want)
			}
		})
	}
}
