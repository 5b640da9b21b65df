package compare

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Table writes the report as Markdown, with one row for each load and one column for each strategy. A closed loop
// shows the throughput and its ratio to the reference. An open loop, whose throughput is fixed, shows the latency. The
// last row shows the violations. docs/strategies.md contains this output.
func (r Report) Table(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Closed loop: reservations per second, and the ratio to %s. Open loop: latency, p50 / p99. Medians of %d interleaved repetitions.\n",
		Reference, r.repetitions())
	if r.hasLimit() {
		fmt.Fprintf(&b, "Limit: the statements of %s in full batches on one connection, without callers.\n", Winner)
	}
	fmt.Fprintf(&b, "%s, Redis %s, %d cores (%s).\n\n", r.Environment.Database, r.Environment.Redis, r.Environment.Cores, r.Environment.Durability())
	b.WriteString("| load |")
	for _, s := range r.Strategies {
		fmt.Fprintf(&b, " %s |", s.Name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(r.Strategies)) + "\n")
	for _, shape := range r.Shapes() {
		fmt.Fprintf(&b, "| %s |", shape)
		for _, s := range r.Strategies {
			sum, ok := r.Summary(s.Name, shape)
			if !ok {
				b.WriteString(" |")
				continue
			}
			fmt.Fprintf(&b, " %s |", sum.cell(shape))
		}
		b.WriteString("\n")
	}
	b.WriteString("| violations |")
	for _, s := range r.Strategies {
		fmt.Fprintf(&b, " %s |", r.violations(s.Name))
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// Ratios writes a small table as Markdown, with one row for each strategy and one column for each number of callers
// that buy one SKU from one replica in a closed loop. A cell is the ratio to the reference. README contains this
// output.
func (r Report) Ratios(w io.Writer) error {
	var hot []Shape
	for _, shape := range r.Shapes() {
		if shape.Loop == Closed && shape.SKUs == 1 && shape.Replicas == 1 && shape.units() == 1 {
			hot = append(hot, shape)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, Redis %s, %d cores (%s).\n\n", r.Environment.Database, r.Environment.Redis, r.Environment.Cores, r.Environment.Durability())
	b.WriteString("| strategy |")
	for _, shape := range hot {
		callers, _, _ := strings.Cut(shape.String(), ",")
		fmt.Fprintf(&b, " %s |", callers)
	}
	b.WriteString(" units oversold |\n|---|" + strings.Repeat("---:|", len(hot)+1) + "\n")
	for _, s := range r.Strategies {
		fmt.Fprintf(&b, "| %s |", s.Name)
		for _, shape := range hot {
			sum, _ := r.Summary(s.Name, shape)
			fmt.Fprintf(&b, " %s |", ratio(sum.Ratio))
		}
		fmt.Fprintf(&b, " %d |\n", r.oversold(s.Name))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// oversold returns the units that a strategy oversold in the whole run.
func (r Report) oversold(strategy string) int64 {
	var n int64
	for _, c := range r.Cells {
		if c.Strategy == strategy {
			n += c.Oversold
		}
	}
	return n
}

func (s Summary) cell(load Shape) string {
	if load.Loop == Open {
		return fmt.Sprintf("%.1f / %.1f ms", s.P50, s.P99)
	}
	if load.Loop == Limit {
		return fmt.Sprintf("%.0f", s.Throughput)
	}
	return fmt.Sprintf("%.0f (%s)", s.Throughput, s.Share())
}

// Share is the ratio to the reference and, where there is one, the share of the limit.
func (s Summary) Share() string {
	if s.OfLimit == 0 {
		return ratio(s.Ratio)
	}
	return fmt.Sprintf("%s, %.2f of limit", ratio(s.Ratio), s.OfLimit)
}

// hasLimit reports whether the run has measured a limit.
func (r Report) hasLimit() bool {
	return slices.ContainsFunc(r.Cells, func(c Cell) bool { return c.Loop == Limit })
}

func ratio(x float64) string {
	switch {
	case x == 0:
		return "-"
	case x >= 10:
		return fmt.Sprintf("%.0f×", x)
	}
	return fmt.Sprintf("%.2f×", x)
}

// violations summarises a strategy's violations and failed orders in the whole run.
func (r Report) violations(strategy string) string {
	var oversold, undersold int64
	var violations, failed int
	for _, c := range r.Cells {
		if c.Strategy == strategy {
			oversold += c.Oversold
			undersold += c.Undersold
			violations += c.Violations
			failed += c.Failed
		}
	}
	var words []string
	if oversold > 0 {
		words = append(words, fmt.Sprintf("%d units oversold", oversold))
	}
	if undersold > 0 {
		words = append(words, fmt.Sprintf("%d units undersold", undersold))
	}
	if violations > 0 {
		words = append(words, fmt.Sprintf("%d ledger violations", violations))
	}
	if failed > 0 {
		words = append(words, fmt.Sprintf("%d orders failed", failed))
	}
	if words == nil {
		return "none"
	}
	return strings.Join(words, ", ")
}

func (r Report) repetitions() int {
	n := 0
	for _, c := range r.Cells {
		n = max(n, c.Repetition)
	}
	return n
}
