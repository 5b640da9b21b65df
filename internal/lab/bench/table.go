package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Table writes the report as Markdown: the ratios to the chain, what an order costs, and the fairness sheet.
func (r Report) Table(w io.Writer) error {
	if err := r.Sheet.check(); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Whole orders %s. Orders per second, the ratio to the empty chain in the same run, and p99. Medians of %d repetitions.\n\n",
		r.Common(), r.repetitions())
	r.ratios(&b)
	b.WriteString("\nWhat one order costs:\n\n")
	r.costs(&b)
	r.Sheet.list(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// Ratios writes a small table as Markdown, with one row for each subject and one column for each closed loop, and the
// fairness sheet. A cell has the orders per second and, except in the chain's row, the ratio to the chain. README
// contains this output.
func (r Report) Ratios(w io.Writer) error {
	if err := r.Sheet.check(); err != nil {
		return err
	}
	loops := slices.DeleteFunc(r.Shapes(), func(s Shape) bool { return s.Share > 0 })
	columns := make([]string, len(loops))
	for i, loop := range loops {
		columns[i] = loop.short()
	}
	var b strings.Builder
	head(&b, "connections", columns)
	for _, subject := range r.Subjects() {
		fmt.Fprintf(&b, "| %s |", subject)
		for _, loop := range loops {
			s, ok := r.Summary(subject, loop)
			switch {
			case !ok:
				b.WriteString(" |")
			case subject == Chain:
				fmt.Fprintf(&b, " %.0f |", s.Throughput)
			default:
				fmt.Fprintf(&b, " %.0f (%.2f×)%s |", s.Throughput, s.Ratio, s.losses())
			}
		}
		b.WriteString("\n")
	}
	r.Sheet.list(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// short describes a closed loop at the head of a column: the connections, and the basket unless it is one SKU.
func (s Shape) short() string {
	if s.Basket == Hot {
		return strconv.Itoa(s.Connections)
	}
	return fmt.Sprintf("%d, %s", s.Connections, s.Basket)
}

func (r Report) ratios(b *strings.Builder) {
	head(b, "load", r.Subjects())
	for _, shape := range r.Shapes() {
		fmt.Fprintf(b, "| %s |", shape)
		for _, subject := range r.Subjects() {
			s, ok := r.Summary(subject, shape)
			if !ok {
				b.WriteString(" |")
				continue
			}
			fmt.Fprintf(b, " %.0f (%.2f×), %.1f ms%s |", s.Throughput, s.Ratio, s.P99, s.losses())
		}
		b.WriteString("\n")
	}
}

func (s Summary) losses() string {
	if s.Refused+s.Failed == 0 {
		return ""
	}
	return fmt.Sprintf(", %d refused, %d failed", s.Refused, s.Failed)
}

// costs shows the closed loops with one SKU, a row for each subject and number of connections.
func (r Report) costs(b *strings.Builder) {
	processes := r.processes()
	head(b, "subject, connections", append(processes, "statements", "commits", "database bytes", "redo bytes", "messages"))
	for _, shape := range r.Shapes() {
		if shape.Share > 0 || shape.Basket != Hot {
			continue
		}
		for _, subject := range r.Subjects() {
			s, ok := r.Summary(subject, shape)
			if !ok || subject == Chain {
				continue
			}
			fmt.Fprintf(b, "| %s, %d |", subject, shape.Connections)
			for _, p := range processes {
				fmt.Fprintf(b, " %.0f µs |", s.ByProcess[p])
			}
			fmt.Fprintf(b, " %.1f | %.2f | %.0f | %.0f | %s |\n", s.Statements, s.Commits, s.Bytes, s.Redo, known(s.Messages))
		}
	}
}

// visible is the CPU time an order from which a process has a column, in microseconds.
const visible = 10

// processes returns the names of the processes that cost something: an idle Redis has no column.
func (r Report) processes() []string {
	most := map[string]float64{}
	for _, shape := range r.Shapes() {
		for _, subject := range r.Subjects() {
			s, _ := r.Summary(subject, shape)
			for name, used := range s.ByProcess {
				if subject != Chain {
					most[name] = max(most[name], used)
				}
			}
		}
	}
	maps.DeleteFunc(most, func(_ string, used float64) bool { return used < visible })
	return slices.Sorted(maps.Keys(most))
}

func known(messages float64) string {
	if messages < 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.1f", messages)
}

func head(b *strings.Builder, first string, columns []string) {
	fmt.Fprintf(b, "| %s | %s |\n|---|%s\n", first, strings.Join(columns, " | "), strings.Repeat("---:|", len(columns)))
}

func (r Report) repetitions() int {
	n := 0
	for _, c := range r.Cells {
		n = max(n, c.Repetition)
	}
	return n
}

// list writes the sheet below a table.
func (s Sheet) list(b *strings.Builder) {
	b.WriteString("\n")
	for _, line := range s.lines() {
		fmt.Fprintf(b, "* %s: %s\n", line[0], line[1])
	}
}

// lines returns the sheet's entries for people.
func (s Sheet) lines() [][2]string {
	lines := [][2]string{
		{"machine", fmt.Sprintf("%s, %d cores, %s, %s", s.Machine.CPU, s.Cores, s.OS, s.Go)},
		{"database", s.Database + ", " + s.Durable + ", " + s.Isolation},
		{"broker", s.Broker},
		{"in flight", s.InFlight},
		{"pipelining", s.Pipelined},
		{"counted as an order", s.Goodput},
		{"CPU", s.CPU},
	}
	if s.Meanwhile != "" {
		lines = append(lines, [2]string{"meanwhile", s.Meanwhile})
	}
	return lines
}
