package compareflows_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/lab/compareflows"
)

// sample is a report of two flows, one of which has a finding.
func sample() compareflows.Report {
	return compareflows.Report{
		Preset: "quick", StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Period: 2, Connections: 16, Rate: 40, Replicas: 2, Strategy: "conditional",
		Settings: map[string]string{"SWEEP_AFTER": "4s", "PENDING_GRACE": "3s"},
		Cells: []compareflows.Cell{
			{Flow: "one", Repetition: 1, Orders: 10, Throughput: 100, FirstP50: 1, FirstP99: 2, KnownP50: 1, KnownP99: 2, Statements: 10, Messages: 2},
			{Flow: "two", Repetition: 1, Orders: 20, Throughput: 200, Messages: -1, Refusals: map[string]int{"overloaded": 3}, Failed: 1},
			{Flow: "one", Repetition: 2, Orders: 30, Throughput: 300, FirstP50: 3, FirstP99: 4, KnownP50: 3, KnownP99: 4, Statements: 20, Messages: 4},
		},
		Outages: []compareflows.Outage{
			{Flow: "one", Seconds: 5, Sent: 200, Placed: 197, Refused: 3, Refusals: map[string]int{"overloaded": 3}, MostInDoubt: 50, Decided: 1, Known: 2, Settled: 3},
			{
				Flow: "two", Seconds: 5, Sent: 200, Placed: 150, Ended: map[string]int{"ABANDONED": 49, "REJECTED": 1}, MostInDoubt: 60,
				Decided: 6, Known: 5, Settled: 7, Findings: []string{"oversold"},
			},
		},
		Audit: compareflows.Audit{Ran: true, Orders: map[string]int{"PLACED": 7}},
	}
}

func TestReport_Table(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := sample().Table(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| one | 2.0 / 3.0 ms | 2.0 / 3.0 ms | 200 | 15.0 | 0.00 | 3.0 |",
		"| two | 0.0 / 0.0 ms | 0.0 / 0.0 ms | 200 (3 refused, 1 failed) | 0.0 | 0.00 | unknown |",
		"| one | 200 | 3 (3 overloaded) | 50 | 197 | 0 | 2.0 s | 3.0 s |",
		"| two | 200 | 0 | 60 | 150 | 49 ABANDONED, 1 REJECTED | 6.0 s | 7.0 s |",
		"PENDING_GRACE=3s, SWEEP_AFTER=4s",
		"medians of 2 interleaved measurements",
		"The audits had 1 findings: two: oversold",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &out)
		}
	}
}

// TestReport_Broken: a finding after an outage and one at the end both count.
func TestReport_Broken(t *testing.T) {
	t.Parallel()
	r := sample()
	r.Audit.Findings = []string{"leaked"}
	if got := strings.Join(r.Broken(), "; "); got != "two: oversold; at the end: leaked" {
		t.Errorf("the findings are %q", got)
	}
}

// TestRead_other: the report of the strategies' comparison is refused, and so is an empty file.
func TestRead_other(t *testing.T) {
	t.Parallel()
	for _, content := range []string{`{"cells":[{"strategy":"naive","orders":7}]}`, `{}`, ``} {
		file := filepath.Join(t.TempDir(), "compare.json")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := compareflows.Read(file); err == nil {
			t.Errorf("%q was read as %+v", content, r)
		}
	}
}

func TestPresetNamed(t *testing.T) {
	t.Parallel()
	for _, p := range compareflows.Presets() {
		if got, err := compareflows.PresetNamed(p.Name); err != nil || got.Outage != 5*time.Second {
			t.Errorf("preset %s: %+v, %v", p.Name, got, err)
		}
	}
	if _, err := compareflows.PresetNamed("long"); err == nil || !strings.Contains(err.Error(), "quick, standard") {
		t.Errorf("an unknown preset: %v", err)
	}
}
