package compare_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/compare"
	"holdfast/internal/lab/machine"
)

func hot(callers int) compare.Shape {
	return compare.Shape{Callers: callers, SKUs: 1, Replicas: 1, Loop: compare.Closed}
}

// report has two strategies, two loads and three repetitions. naive oversells under the larger load.
func report() compare.Report {
	r := compare.Report{
		Preset: "quick", Period: 1,
		Environment: compare.Environment{
			Machine: machine.Machine{
				Database: "SomeDB 1.0", Cores: 2,
				Settings: map[string]string{"innodb_flush_log_at_trx_commit": "1", "log_bin": "ON", "sync_binlog": "1"},
			},
			Redis: "7.0",
		},
		Strategies: []compare.Strategy{{Name: "naive", Layout: "row", Idea: "read <b>then</b> write"}, {Name: "for-update", Layout: "row", Safe: true}},
	}
	for repetition, factor := range []float64{1, 3, 2} {
		for _, callers := range []int{1, 64} {
			r.Cells = append(r.Cells,
				compare.Cell{
					Strategy: "naive", Layout: "row", Shape: hot(callers), Repetition: repetition + 1,
					Orders: 10, Throughput: 200 * factor, P50: 1, P95: 2, P99: 3, Oversold: int64(callers / 64), Violations: callers / 64,
				},
				compare.Cell{
					Strategy: "for-update", Layout: "row", Shape: hot(callers), Repetition: repetition + 1,
					Orders: 10, Throughput: 100 * factor, P50: 4, P95: 5, P99: 6,
				})
		}
	}
	return r
}

func TestReport_Summary(t *testing.T) {
	t.Parallel()
	got, ok := report().Summary("naive", hot(64))
	want := compare.Summary{Throughput: 400, Least: 200, Most: 600, P50: 1, P95: 2, P99: 3, Ratio: 2, Oversold: 3, Violations: 3}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("ok %v (-want +got):\n%s", ok, diff)
	}
	if _, ok := report().Summary("naive", hot(2)); ok {
		t.Error("a load that did not run has a summary")
	}
}

func TestReport_BrokenSafe(t *testing.T) {
	t.Parallel()
	r := report()
	if broken := r.BrokenSafe(); broken != nil {
		t.Errorf("BrokenSafe contains an unsafe strategy: %v", broken)
	}
	for _, breakIt := range []func(*compare.Cell){
		func(c *compare.Cell) { c.Oversold = 1 },
		func(c *compare.Cell) { c.Undersold = 1 },
		func(c *compare.Cell) { c.Violations = 1 },
		func(c *compare.Cell) { c.Failed = 1 },
	} {
		r := report()
		breakIt(&r.Cells[1])
		if len(r.BrokenSafe()) != 1 {
			t.Errorf("not reported: %+v", r.Cells[1])
		}
	}
}

func TestReport_Table(t *testing.T) {
	t.Parallel()
	r := report()
	r.Cells = append(r.Cells, compare.Cell{
		Strategy: "for-update", Layout: "row", Shape: compare.Shape{SKUs: 100, Replicas: 1, Loop: compare.Open, Rate: 200}, Repetition: 1,
		Orders: 10, Throughput: 200, P50: 4.04, P95: 5, P99: 60,
	})
	var got strings.Builder
	if err := r.Table(&got); err != nil {
		t.Fatal(err)
	}
	want := `Closed loop: reservations per second, and the ratio to for-update. Open loop: latency, p50 / p99. Medians of 3 interleaved repetitions.
SomeDB 1.0, Redis 7.0, 2 cores (flush at commit 1, binlog, sync 1).

| load | naive | for-update |
|---|---:|---:|
| 1 caller, one SKU, closed loop | 400 (2.00×) | 200 (1.00×) |
| 64 callers, one SKU, closed loop | 400 (2.00×) | 200 (1.00×) |
| 200 orders/s, 100 SKUs, open loop | | 4.0 / 60.0 ms |
| violations | 3 units oversold, 3 ledger violations | none |
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestReport_Ratios has three loads that are not for the small table, and a strategy that did not run under one.
func TestReport_Ratios(t *testing.T) {
	t.Parallel()
	r := report()
	for _, other := range []compare.Shape{
		{Callers: 64, SKUs: 100, Replicas: 1, Loop: compare.Closed},
		{Callers: 64, SKUs: 1, Replicas: 2, Loop: compare.Closed},
		{Callers: 64, SKUs: 1, Replicas: 1, Loop: compare.Closed, Units: 10},
		{SKUs: 1, Replicas: 1, Loop: compare.Open, Rate: 200},
		hot(256),
	} {
		r.Cells = append(r.Cells, compare.Cell{Strategy: "for-update", Shape: other, Repetition: 1, Orders: 10, Throughput: 200})
	}
	var got strings.Builder
	if err := r.Ratios(&got); err != nil {
		t.Fatal(err)
	}
	want := `SomeDB 1.0, Redis 7.0, 2 cores (flush at commit 1, binlog, sync 1).

| strategy | 1 caller | 64 callers | 256 callers | units oversold |
|---|---:|---:|---:|---:|
| naive | 2.00× | 2.00× | - | 3 |
| for-update | 1.00× | 1.00× | 1.00× | 0 |
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReport_Write(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	if err := report().Write(dir); err != nil {
		t.Fatal(err)
	}
	again, err := compare.Read(filepath.Join(dir, "compare.json"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(report(), again); diff != "" {
		t.Errorf("the report changed between Write and Read:\n%s", diff)
	}
	b, err := os.ReadFile(filepath.Join(dir, "compare.html"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, want := range []string{"unsafe, as expected", "3 units oversold", "read &lt;b&gt;then", "400 <small>(2.00×)</small>", "1.0 / 2.0 / 3.0"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	// The page must be self-contained: it loads nothing. Comments in the library may contain addresses.
	if found := regexp.MustCompile(`(src|href)=|@import|url\(`).FindString(page); found != "" {
		t.Errorf("the page refers to something else: %s", found)
	}
	if _, err := compare.Read(filepath.Join(dir, "compare.html")); err == nil {
		t.Error("a page was read as a report")
	}
}

// TestCellJSON checks the names that tools outside this repository read.
func TestCellJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(compare.Cell{})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"strategy", "layout", "callers", "skus", "replicas", "loop", "repetition", "orders", "throughput_per_s",
		"p50_ms", "p95_ms", "p99_ms", "oversold", "undersold", "violations",
	} {
		if _, ok := got[name]; !ok {
			t.Errorf("a cell has no %q", name)
		}
	}
}

// TestVendored compares the library with the checksums in VERSIONS.
func TestVendored(t *testing.T) {
	t.Parallel()
	versions, err := os.ReadFile("web/VERSIONS")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^([0-9a-f]{64})  (\S+)$`).FindAllStringSubmatch(string(versions), -1)
	if len(lines) != 2 {
		t.Fatalf("%d checksums", len(lines))
	}
	for _, l := range lines {
		b, err := os.ReadFile(filepath.Join("web", l[2]))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != l[1] {
			t.Errorf("%s is not what VERSIONS says", l[2])
		}
	}
}

func TestPresetNamed(t *testing.T) {
	t.Parallel()
	quick, err := compare.PresetNamed("quick")
	if err != nil {
		t.Fatal(err)
	}
	for _, callers := range []int{64, 256, 1024} {
		found := false
		for _, s := range quick.Shapes {
			found = found || s == hot(callers)
		}
		if !found {
			t.Errorf("quick does not have %d callers on one SKU", callers)
		}
	}
	if _, err := compare.PresetNamed("slow"); err == nil || !strings.Contains(err.Error(), "quick, standard, long") {
		t.Errorf("an unknown preset: %v", err)
	}
}

// TestReport_limit has group-commit sell 400 under every load, and its limit at 1,000.
func TestReport_limit(t *testing.T) {
	t.Parallel()
	r := report()
	r.Strategies = append(r.Strategies, compare.Strategy{Name: compare.Winner, Layout: "row", Safe: true})
	two := hot(64)
	two.Replicas = 2
	for _, c := range []compare.Cell{
		{Strategy: compare.Winner, Shape: hot(64), Throughput: 400},
		{Strategy: compare.Winner, Shape: two, Throughput: 400},
		{Strategy: compare.Winner, Shape: compare.Shape{SKUs: 1, Replicas: 1, Loop: compare.Limit}, Throughput: 1000},
	} {
		c.Repetition = 1
		r.Cells = append(r.Cells, c)
	}
	var got strings.Builder
	if err := r.Table(&got); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\nLimit: the statements of group-commit in full batches on one connection, without callers.\n",
		"| 64 callers, one SKU, closed loop | 400 (2.00×) | 200 (1.00×) | 400 (2.00×, 0.40 of limit) |\n",
		"| 64 callers, one SKU, 2 replicas, closed loop | | | 400 (-) |\n",
		"| limit, one SKU, full batches | | | 1000 |\n",
	} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("the table does not have %q:\n%s", want, got.String())
		}
	}
	dir := t.TempDir()
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "compare.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"400 <small>(2.00×, 0.40 of limit)</small>", "what the statements of group-commit sell"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not have %q", want)
		}
	}
}
