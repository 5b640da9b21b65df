package docs_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFlows: the pages of the flows have a row for each flow, and say what happens at each crash.
func TestFlows(t *testing.T) {
	t.Parallel()
	want := names(`\bName: +"([a-z-]+)"`, read(t, "../order-srv/internal/flow/flow.go"))
	for _, page := range []string{"flows.md", "flows.zh.md"} {
		text := read(t, page)
		if diff := cmp.Diff(want, names("(?m)^\\| `([a-z-]+)` \\|", text)); diff != "" {
			t.Errorf("%s: table (-flow.go +page):\n%s", page, diff)
		}
		if diff := cmp.Diff(want, names(`(?m)^### ([a-z-]+)$`, text)); diff != "" {
			t.Errorf("%s: crashes (-flow.go +page):\n%s", page, diff)
		}
	}
}
