package compare

import (
	_ "embed" // for the page's parts
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
)

//go:embed web/page.html
var pageHTML string

//go:embed web/page.js
var pageJS string

//go:embed web/page.css
var pageCSS string

//go:embed web/uPlot.iife.min.js
var uplotJS string

//go:embed web/uPlot.min.css
var uplotCSS string

// Write writes compare.json and compare.html into dir. The page is a single file and needs neither a server nor a
// network.
func (r Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := r.writeJSON(filepath.Join(dir, "compare.json")); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "compare.html"))
	if err != nil {
		return err
	}
	return errors.Join(r.page(f), f.Close())
}

// page renders the report. The tables are rendered here, so that the page is complete without its script. The script
// draws the curves.
func (r Report) page(w io.Writer) error {
	t, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{
		"Report": r, "Rows": r.rows(), "Correctness": r.correctness(), "Durability": r.Environment.Durability(), "Repetitions": r.repetitions(),
		"Reference": Reference, "Winner": Winner, "Limit": r.hasLimit(), "Data": json.RawMessage(data),
		"CSS": template.CSS(uplotCSS + pageCSS), "UPlot": template.JS(uplotJS), "JS": template.JS(pageJS), //nolint:gosec // embedded files
	})
}

// row is one load in the page's table.
type row struct {
	Shape Shape
	Cells []rowCell
}

type rowCell struct {
	Strategy string
	Safe     bool
	Ran      bool
	Summary  Summary
}

func (r Report) rows() []row {
	var rows []row
	for _, shape := range r.Shapes() {
		one := row{Shape: shape}
		for _, s := range r.Strategies {
			sum, ok := r.Summary(s.Name, shape)
			one.Cells = append(one.Cells, rowCell{Strategy: s.Name, Safe: s.Safe, Ran: ok, Summary: sum})
		}
		rows = append(rows, one)
	}
	return rows
}

// correctnessRow is one strategy's line in the table of violations.
type correctnessRow struct {
	Strategy
	Violations string
	Verdict    string
}

func (r Report) correctness() []correctnessRow {
	var out []correctnessRow
	for _, s := range r.Strategies {
		h := correctnessRow{Strategy: s, Violations: r.violations(s.Name)}
		switch broken := h.Violations != "none"; {
		case s.Safe && !broken:
			h.Verdict = "held"
		case s.Safe:
			h.Verdict = "BROKEN, although it is safe"
		case broken:
			h.Verdict = "unsafe, as expected"
		default:
			h.Verdict = "unsafe, but without a violation in this run"
		}
		out = append(out, h)
	}
	return out
}

// String formats the summary for the page's cell.
func (s Summary) String() string { return fmt.Sprintf("%.0f", s.Throughput) }
