package docs_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/compare"
)

// A table in a page stands between the command that made it and an end mark.
var figures = regexp.MustCompile(`(?s)<!-- compare: bin/holdfast compare --(table|ratios) (\S+) -->\n(.*?)<!-- end -->`)

// TestTables makes every table of figures again from its run's JSON: nobody has typed one, and none is older than its
// run.
func TestTables(t *testing.T) {
	t.Parallel()
	found := 0
	for _, page := range pages(t) {
		for _, m := range figures.FindAllStringSubmatch(read(t, page), -1) {
			found++
			report, err := compare.Read(filepath.Join("..", m[2]))
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			var want strings.Builder
			writeTable := report.Table
			if m[1] == "ratios" {
				writeTable = report.Ratios
			}
			if err := writeTable(&want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff("\n"+want.String()+"\n", m[3]); diff != "" {
				t.Errorf("%s: not what %s says (-want +got):\n%s", page, m[2], diff)
			}
		}
	}
	if found < 6 {
		t.Errorf("found only %d tables", found)
	}
}
