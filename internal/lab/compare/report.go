package compare

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"holdfast/internal/lab/machine"
	"holdfast/internal/lab/stats"
)

// Reference is the strategy to which all others are compared.
const Reference = "for-update"

// Report is the result of one run, and the content of compare.json.
type Report struct {
	Preset      string      `json:"preset"`
	StartedAt   time.Time   `json:"started_at"`
	Took        float64     `json:"took_s"`
	Period      float64     `json:"period_s"` // measured time of one cell
	Environment Environment `json:"environment"`
	Strategies  []Strategy  `json:"strategies"` // in display order
	Cells       []Cell      `json:"cells"`      // in the order in which they ran
}

// Strategy is a compared strategy.
type Strategy struct {
	Name   string `json:"name"`
	Layout string `json:"layout"`
	Idea   string `json:"idea"`
	Safe   bool   `json:"safe"`
}

// Environment describes the machine and the servers on which the figures depend.
type Environment struct {
	machine.Machine
	Redis string `json:"redis"`
	Pool  int    `json:"pool"` // maximum database connections of one replica
}

// Cell is one repetition of one strategy under one load.
type Cell struct {
	Strategy string `json:"strategy"`
	Layout   string `json:"layout"`
	Shape
	Repetition int `json:"repetition"` // from 1

	Orders     int     `json:"orders"` // orders reserved in the measured time
	Throughput float64 `json:"throughput_per_s"`
	P50        float64 `json:"p50_ms"` // from the caller's first attempt to its final answer, including retries
	P95        float64 `json:"p95_ms"`
	P99        float64 `json:"p99_ms"`
	Contended  int     `json:"contended"`    // answers ErrContended, which were retried
	LockWaits  int64   `json:"lock_waits"`   // row lock waits, from the server's counter
	LockWaitMS int64   `json:"lock_wait_ms"` // time spent in row lock waits

	Oversold   int64    `json:"oversold"`   // units promised beyond the inbound units
	Undersold  int64    `json:"undersold"`  // units left when a caller got ErrOutOfStock
	Violations int      `json:"violations"` // broken ledger invariants
	Failed     int      `json:"failed"`     // orders that ended with an error
	Findings   []string `json:"findings,omitempty"`
}

// Broken reports whether the cell has violations or failed orders.
func (c Cell) Broken() bool { return c.Oversold+c.Undersold != 0 || c.Violations+c.Failed != 0 }

// BrokenSafe returns the cells of safe strategies with violations or failed orders. It should be empty.
func (r Report) BrokenSafe() []Cell {
	var broken []Cell
	for _, c := range r.Cells {
		if c.Broken() && r.safe(c.Strategy) {
			broken = append(broken, c)
		}
	}
	return broken
}

func (r Report) safe(name string) bool {
	i := slices.IndexFunc(r.Strategies, func(s Strategy) bool { return s.Name == name })
	return i >= 0 && r.Strategies[i].Safe
}

// Shapes returns the loads in the order of their first run.
func (r Report) Shapes() []Shape {
	return stats.Distinct(r.Cells, func(c Cell) Shape { return c.Shape })
}

// Summary combines the repetitions of one strategy under one load.
type Summary struct {
	Throughput, Least, Most float64 // orders per second: median, minimum and maximum
	P50, P95, P99           float64 // medians, in milliseconds
	Ratio                   float64 // median throughput relative to that of the reference; 0 without a reference
	OfLimit                 float64 // Winner: median throughput relative to that of the limit; 0 without a limit
	Oversold, Undersold     int64   // sums
	Violations, Failed      int     // sums
	LockWaits               int64   // median
}

// Broken reports whether any repetition has violations or failed orders.
func (s Summary) Broken() bool { return s.Oversold+s.Undersold != 0 || s.Violations+s.Failed != 0 }

// Summary returns false if the strategy did not run under that load.
func (r Report) Summary(strategy string, shape Shape) (Summary, bool) {
	cells := r.cells(strategy, shape)
	if len(cells) == 0 {
		return Summary{}, false
	}
	rates := column(cells, func(c Cell) float64 { return c.Throughput })
	s := Summary{
		Throughput: stats.Median(rates), Least: slices.Min(rates), Most: slices.Max(rates),
		P50:       stats.Median(column(cells, func(c Cell) float64 { return c.P50 })),
		P95:       stats.Median(column(cells, func(c Cell) float64 { return c.P95 })),
		P99:       stats.Median(column(cells, func(c Cell) float64 { return c.P99 })),
		LockWaits: int64(stats.Median(column(cells, func(c Cell) float64 { return float64(c.LockWaits) }))),
	}
	for _, c := range cells {
		s.Oversold += c.Oversold
		s.Undersold += c.Undersold
		s.Violations += c.Violations
		s.Failed += c.Failed
	}
	reference := column(r.cells(Reference, shape), func(c Cell) float64 { return c.Throughput })
	if len(reference) > 0 && stats.Median(reference) > 0 {
		s.Ratio = s.Throughput / stats.Median(reference)
	}
	s.OfLimit = s.Throughput * r.perLimit(strategy, shape)
	return s, true
}

// perLimit returns 1 / limit, or 0 if the strategy has no limit under that load.
func (r Report) perLimit(strategy string, shape Shape) float64 {
	full, ok := shape.limit()
	if !ok || strategy != Winner {
		return 0
	}
	limit := stats.Median(column(r.cells(Winner, full), func(c Cell) float64 { return c.Throughput }))
	if limit <= 0 {
		return 0
	}
	return 1 / limit
}

func (r Report) cells(strategy string, shape Shape) []Cell {
	var cells []Cell
	for _, c := range r.Cells {
		if c.Strategy == strategy && c.Shape == shape {
			cells = append(cells, c)
		}
	}
	return cells
}

func column(cells []Cell, of func(Cell) float64) []float64 {
	values := make([]float64, len(cells))
	for i, c := range cells {
		values[i] = of(c)
	}
	return values
}

// Read reads the report of an earlier run.
func Read(file string) (Report, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return Report{}, err
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return Report{}, fmt.Errorf("read %s: %w", file, err)
	}
	if len(r.Cells) == 0 {
		return Report{}, fmt.Errorf("read %s: %w", file, errors.New("the file has no cells"))
	}
	return r, nil
}

// writeJSON writes one cell per line, so that people can read the file and diffs are short.
func (r Report) writeJSON(file string) error {
	lines := make([]string, len(r.Cells))
	for i, c := range r.Cells {
		line, err := json.Marshal(c)
		if err != nil {
			return err
		}
		lines[i] = "  " + string(line)
	}
	r.Cells = nil
	head, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	// The cells are the last field, followed only by the end of the object.
	head = bytes.TrimSuffix(head, []byte("null\n}"))
	text := string(head) + "[\n" + strings.Join(lines, ",\n") + "\n  ]\n}\n"
	return os.WriteFile(file, []byte(text), 0o644) //nolint:gosec // a report for all users
}
