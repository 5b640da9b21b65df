package docs_test

import (
	"errors"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/bench"
	"holdfast/internal/lab/compare"
	"holdfast/internal/lab/compareflows"
)

// A table in a page stands between the command that made it and an end mark.
var figures = regexp.MustCompile(`(?s)<!-- compare: bin/holdfast (compare|compare --flows|bench) --(table|ratios) (\S+) -->\n(.*?)<!-- end -->`)

// TestTables makes every table of figures again from its run's JSON: nobody has typed one, and none is older than its
// run.
func TestTables(t *testing.T) {
	t.Parallel()
	found := 0
	for _, page := range pages(t) {
		for _, m := range figures.FindAllStringSubmatch(read(t, page), -1) {
			found++
			want, err := tableOf(m[1], m[2], filepath.Join("..", m[3]))
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if diff := cmp.Diff("\n"+want+"\n", m[4]); diff != "" {
				t.Errorf("%s: not what %s says (-want +got):\n%s", page, m[3], diff)
			}
		}
	}
	if found < 11 {
		t.Errorf("found only %d tables", found)
	}
}

// tableOf prints the table that a command prints of a stored run.
func tableOf(command, kind, file string) (string, error) {
	report, err := stored(command, file)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	if kind == "ratios" {
		err = report.Ratios(&out)
	} else {
		err = report.Table(&out)
	}
	return out.String(), err
}

// tables is a report that can be printed.
type tables interface {
	Table(w io.Writer) error
	Ratios(w io.Writer) error
}

// stored reads a run of a command.
func stored(command, file string) (tables, error) {
	switch command {
	case "bench":
		return bench.Read(file)
	case "compare":
		return compare.Read(file)
	}
	report, err := compareflows.Read(file)
	return flowTables{report}, err
}

// flowTables is a comparison of flows, which has no small table.
type flowTables struct{ compareflows.Report }

// Ratios implements tables.
func (flowTables) Ratios(io.Writer) error { return errors.New("flows have no small table") }

// TestPresets_times: the help of compare says how long a preset takes with all strategies. The estimate is that of the
// stored runs: a cell takes its period and the time for starting and auditing.
func TestPresets_times(t *testing.T) {
	t.Parallel()
	help := read(t, "../cmd/holdfast/compare.go")
	overhead := cellOverhead(t)
	for _, p := range compare.Presets() {
		m := regexp.MustCompile(p.Name + ` \((\d+) to (\d+) minutes\)`).FindStringSubmatch(help)
		if m == nil {
			t.Errorf("the help of compare does not say how long %s takes", p.Name)
			continue
		}
		cells := time.Duration(len(p.Shapes) * p.Repetitions * len(strategies(false)))
		takes := (cells * (p.Period + overhead)).Minutes()
		least, most := number(t, m[1]), number(t, m[2])
		if takes < least || takes > most {
			t.Errorf("%s takes %.0f minutes, and the help of compare says %q", p.Name, takes, m[0])
		}
	}
}

// cellOverhead is the mean time of a cell of the stored runs beyond its period.
func cellOverhead(t *testing.T) time.Duration {
	t.Helper()
	runs, err := filepath.Glob("compare/*.json")
	if err != nil || len(runs) == 0 {
		t.Fatalf("runs %v, %v", runs, err)
	}
	var seconds, cells float64
	for _, file := range runs {
		r, err := compare.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		seconds += r.Took - r.Period*float64(len(r.Cells))
		cells += float64(len(r.Cells))
	}
	return time.Duration(seconds / cells * float64(time.Second))
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
