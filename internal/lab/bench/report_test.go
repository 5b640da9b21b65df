package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReport_Summary_missing: a repetition that the chain lacks, after an interruption, does not count for the ratio,
// and without the chain there is none.
func TestReport_Summary_missing(t *testing.T) {
	t.Parallel()
	shape := Shape{Connections: 1, Basket: Hot}
	r := Report{Cells: []Cell{
		{Subject: "a", Shape: shape, Repetition: 1, Throughput: 900, Refused: 1, Failed: 2},
		{Subject: Chain, Shape: shape, Repetition: 2, Throughput: 1000},
		{Subject: "a", Shape: shape, Repetition: 2, Throughput: 500, Refused: 10, Failed: 20},
		{Subject: Chain, Shape: shape, Repetition: 3},
		{Subject: "a", Shape: shape, Repetition: 3, Throughput: 100},
	}}
	got, ok := r.Summary("a", shape)
	want := Summary{Throughput: 500, Ratio: 0.5, Refused: 11, Failed: 22, ByProcess: map[string]float64{}}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("ok %v (-want +got):\n%s", ok, diff)
	}
	r.Cells = []Cell{r.Cells[0], r.Cells[2]}
	if got, ok := r.Summary("a", shape); !ok || got.Ratio != 0 || got.Throughput != 700 {
		t.Errorf("without the chain: %+v, %v", got, ok)
	}
}

// TestReport_Table_partial: a subject that did not run has an empty cell, losses are named, and an open loop or a mixed
// basket has no costs of its own.
func TestReport_Table_partial(t *testing.T) {
	t.Parallel()
	open, mixed := Shape{Connections: 64, Basket: Hot, Share: 0.5}, Shape{Connections: 64, Basket: Mixed}
	r := planted()
	r.Flow, r.Strategy = "", "conditional"
	r.Cells[1].Refused, r.Cells[3].Failed = 3, 4
	r.Cells[1].Messages, r.Cells[3].Messages = -1, -1
	r.Cells = append(r.Cells,
		Cell{Subject: "late", Shape: open, Repetition: 1, Throughput: 80, P99: 9, CPU: map[string]float64{"idle": 9.9, "busy": 10}},
		Cell{Subject: "late", Shape: mixed, Repetition: 1, Throughput: 90, P99: 8})
	var out bytes.Buffer
	if err := r.Table(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Whole orders with the strategy conditional.",
		"Medians of 2 repetitions.",
		"| load | chain | group-commit | late |\n|---|---:|---:|---:|\n",
		"| 64 connections, one SKU | 3000 (1.00×), 0.0 ms | 750 (0.25×), 7.0 ms, 3 refused, 4 failed | |\n",
		"| 64 connections, one SKU, open loop at 50 % | | | 80 (0.00×), 9.0 ms |\n",
		"| 64 connections, 100 SKUs, 1 to 3 lines | | | 90 (0.00×), 8.0 ms |\n",
		"| subject, connections | busy | generator | order-srv | statements | commits | database bytes | redo bytes | messages |\n",
		"| group-commit, 64 | 0 µs | 30 µs | 200 µs | 3.0 | 0.00 | 0 | 0 | unknown |\n\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "| late, 64") {
		t.Errorf("a load that is not for the costs has some:\n%s", &out)
	}
}

// TestReport_Ratios: a row for each subject, the closed loops alone, and below them the whole fairness sheet.
func TestReport_Ratios(t *testing.T) {
	t.Parallel()
	open, mixed := Shape{Connections: 64, Basket: Hot, Share: 0.5}, Shape{Connections: 64, Basket: Mixed}
	r := planted()
	r.Cells[1].Refused = 3
	r.Cells = append(r.Cells,
		Cell{Subject: "late", Shape: open, Repetition: 1, Throughput: 80}, Cell{Subject: "late", Shape: mixed, Repetition: 1, Throughput: 90})
	var out bytes.Buffer
	if err := r.Ratios(&out); err != nil {
		t.Fatal(err)
	}
	table, sheet, _ := strings.Cut(out.String(), "\n\n")
	want := `| connections | 64 | 64, 100 SKUs, 1 to 3 lines |
|---|---:|---:|
| chain | 3000 | |
| group-commit | 750 (0.25×), 3 refused, 0 failed | |
| late | | 90 (0.00×) |`
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, line := range r.Sheet.lines() {
		if !strings.Contains(sheet, "* "+line[0]+": "+line[1]+"\n") {
			t.Errorf("the sheet lacks %q:\n%s", line, sheet)
		}
	}
	r.Sheet.Isolation = ""
	if err := r.Ratios(&out); err == nil {
		t.Error("a table without the isolation level was printed")
	}
}

// TestReport_rows_bar: the bar of a subject that is faster than the chain does not leave its column.
func TestReport_rows_bar(t *testing.T) {
	t.Parallel()
	for speed, want := range map[float64]int{0: 0, 750: 50, 1500: 100, 9000: 100} {
		shape := Shape{Connections: 1, Basket: Hot}
		r := Report{Cells: []Cell{
			{Subject: Chain, Shape: shape, Repetition: 1, Throughput: 1000}, {Subject: "a", Shape: shape, Repetition: 1, Throughput: speed},
		}}
		if got := r.rows()[0].Cells[1].Bar; got != want {
			t.Errorf("%v orders/s beside 1000: a bar of %d %%, want %d", speed, got, want)
		}
	}
}

// TestRead_refused: what is no report of a finished cell is an error that names the file.
func TestRead_refused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := planted()
	r.Cells = nil
	empty, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"empty.json": string(empty), "other.json": `{"cells": [1]}`, "cut.json": `{"cells": [`} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s was read: %v", name, err)
		}
	}
	if _, err := Read(filepath.Join(dir, "none.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file was read: %v", err)
	}
}
