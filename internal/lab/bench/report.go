package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"holdfast/internal/lab/load"
	"holdfast/internal/lab/report"
	"holdfast/internal/lab/stats"
)

// Report is the result of one run, and the content of bench.json.
type Report struct {
	Preset    string    `json:"preset"`
	Flow      string    `json:"flow,omitempty"`     // of all orders; "": the flows are the subjects
	Strategy  string    `json:"strategy,omitempty"` // of all orders; "": the strategies are the subjects
	StartedAt time.Time `json:"started_at"`
	Took      float64   `json:"took_s"`
	Time      float64   `json:"cell_s"` // of one cell; a quarter of it is warm-up
	Sheet     Sheet     `json:"sheet"`
	Cells     []Cell    `json:"cells"` // in the order in which they ran
}

// Cell is one repetition of one subject under one load.
type Cell struct {
	Subject string `json:"subject"` // the chain, a strategy or a flow
	Shape
	Repetition int     `json:"repetition"`     // from 1
	Rate       float64 `json:"rate,omitempty"` // open loop: orders per second

	Orders     int64   `json:"orders"`
	Throughput float64 `json:"orders_per_s"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Refused    int64   `json:"refused"` // 429
	Failed     int64   `json:"failed"`  // every other answer but 201, late ones too, and no answer

	CPU        map[string]float64 `json:"cpu_us"` // an order, by process
	Statements float64            `json:"statements"`
	Commits    float64            `json:"commits"`
	Bytes      float64            `json:"database_bytes"`
	Redo       float64            `json:"redo_bytes"`
	Messages   float64            `json:"messages"` // copies stored by the broker; -1: unknown
	Findings   []string           `json:"findings,omitempty"`
}

// fill computes the cell from the counts of a measurement that took that long.
func (c *Cell) fill(t *load.Tally, took time.Duration, used Counters) {
	c.Orders, c.Refused = t.Good.Load(), t.Refused.Load()
	c.Failed = t.Late.Load() + t.Pending.Load() + t.SoldOut.Load() + t.Unavailable.Load() + t.Other.Load() + t.Broken.Load()
	c.Throughput = float64(c.Orders) / took.Seconds()
	c.P50, c.P99 = ms(t.Placed.Quantile(0.5)), ms(t.Placed.Quantile(0.99))
	n := float64(max(1, c.Orders))
	c.CPU = map[string]float64{}
	for name, cpu := range used.CPU {
		c.CPU[name] = float64(cpu.Microseconds()) / n
	}
	c.Statements, c.Commits = float64(used.Statements)/n, float64(used.Commits)/n
	c.Bytes, c.Redo = float64(used.Bytes)/n, float64(used.Redo)/n
	if c.Messages = -1; used.Messages >= 0 {
		c.Messages = float64(used.Messages) / n
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Broken returns the cells after which the audit had findings.
func (r Report) Broken() []Cell {
	var broken []Cell
	for _, c := range r.Cells {
		if len(c.Findings) > 0 {
			broken = append(broken, c)
		}
	}
	return broken
}

// Common says what all orders had in common.
func (r Report) Common() string {
	if r.Strategy != "" {
		return "with the strategy " + r.Strategy
	}
	return "by the flow " + r.Flow
}

// Subjects returns the chain and the strategies or flows in the order of their first run.
func (r Report) Subjects() []string {
	return stats.Distinct(r.Cells, func(c Cell) string { return c.Subject })
}

// Shapes returns the loads in the order of their first run.
func (r Report) Shapes() []Shape {
	return stats.Distinct(r.Cells, func(c Cell) Shape { return c.Shape })
}

// Summary combines the repetitions of one subject under one load. All values are medians.
type Summary struct {
	Throughput, P50, P99 float64
	Ratio                float64 // to the chain's throughput, taken repetition by repetition; 0 without a chain
	CPU                  float64 // microseconds an order, all processes together, without the generator
	ByProcess            map[string]float64
	Statements, Commits  float64
	Bytes, Redo          float64
	Messages             float64
	Refused, Failed      int64 // sums
}

// Summary returns false if the subject did not run under that load.
func (r Report) Summary(subject string, shape Shape) (Summary, bool) {
	cells := r.cells(subject, shape)
	if len(cells) == 0 {
		return Summary{}, false
	}
	of := func(value func(Cell) float64) float64 {
		values := make([]float64, len(cells))
		for i, c := range cells {
			values[i] = value(c)
		}
		return stats.Median(values)
	}
	s := Summary{
		Throughput: of(func(c Cell) float64 { return c.Throughput }),
		P50:        of(func(c Cell) float64 { return c.P50 }),
		P99:        of(func(c Cell) float64 { return c.P99 }),
		CPU:        of(Cell.cpu),
		ByProcess:  map[string]float64{},
		Statements: of(func(c Cell) float64 { return c.Statements }),
		Commits:    of(func(c Cell) float64 { return c.Commits }),
		Bytes:      of(func(c Cell) float64 { return c.Bytes }),
		Redo:       of(func(c Cell) float64 { return c.Redo }),
		Messages:   of(func(c Cell) float64 { return c.Messages }),
		Ratio:      r.ratio(cells, shape),
	}
	for name := range cells[0].CPU {
		s.ByProcess[name] = of(func(c Cell) float64 { return c.CPU[name] })
	}
	for _, c := range cells {
		s.Refused += c.Refused
		s.Failed += c.Failed
	}
	return s, true
}

func (c Cell) cpu() float64 {
	total := 0.0
	for name, used := range c.CPU {
		if name != generator {
			total += used
		}
	}
	return total
}

// ratio pairs each cell with the chain's cell of the same repetition, which ran within the same minute.
func (r Report) ratio(cells []Cell, shape Shape) float64 {
	chain := map[int]float64{}
	for _, c := range r.cells(Chain, shape) {
		chain[c.Repetition] = c.Throughput
	}
	var ratios []float64
	for _, c := range cells {
		if chain[c.Repetition] > 0 {
			ratios = append(ratios, c.Throughput/chain[c.Repetition])
		}
	}
	return stats.Median(ratios)
}

func (r Report) cells(subject string, shape Shape) []Cell {
	var cells []Cell
	for _, c := range r.Cells {
		if c.Subject == subject && c.Shape == shape {
			cells = append(cells, c)
		}
	}
	return cells
}

// Read reads the report of an earlier run. A report without cells or with an incomplete fairness sheet is an error.
func Read(file string) (Report, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return Report{}, err
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return Report{}, fmt.Errorf("read %s: %w", file, err)
	}
	if err := r.Sheet.check(); err != nil {
		return Report{}, fmt.Errorf("read %s: %w", file, err)
	}
	if len(r.Cells) == 0 {
		return Report{}, fmt.Errorf("read %s: the file has no cells", file)
	}
	return r, nil
}

// Write writes bench.json and bench.html into dir. The page is a single file and needs no network.
func (r Report) Write(dir string) error { return report.Write(dir, "bench", r, r.page) }
