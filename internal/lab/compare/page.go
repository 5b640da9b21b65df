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

// Write puts compare.json and compare.html into dir. The page is one file that needs nothing else, neither a server nor
// a network.
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

// page renders the report. The tables are made here, so that the page says everything without its script; the script
// draws the curves.
func (r Report) page(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{"ratio": ratio}).Parse(pageHTML)
	if err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{
		"Report": r, "Rows": r.rows(), "Harm": r.harms(), "Durability": r.Environment.durability(), "Repetitions": r.repetitions(),
		"Reference": Reference, "Data": json.RawMessage(data),
		"CSS": template.CSS(uplotCSS + pageCSS), "UPlot": template.JS(uplotJS), "JS": template.JS(pageJS), //nolint:gosec // ours
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

// harmRow is what one strategy did to the stock.
type harmRow struct {
	Strategy
	Harm    string
	Verdict string
}

func (r Report) harms() []harmRow {
	var out []harmRow
	for _, s := range r.Strategies {
		h := harmRow{Strategy: s, Harm: r.harm(s.Name)}
		switch broken := h.Harm != "none"; {
		case s.Safe && !broken:
			h.Verdict = "held"
		case s.Safe:
			h.Verdict = "BROKEN, and it should not be"
		case broken:
			h.Verdict = "unsafe, as it was meant to show"
		default:
			h.Verdict = "unsafe, but its fault was not seen in this run"
		}
		out = append(out, h)
	}
	return out
}

// String is the summary as the page's cell says it.
func (s Summary) String() string { return fmt.Sprintf("%.0f", s.Throughput) }
