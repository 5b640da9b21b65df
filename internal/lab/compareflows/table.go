package compareflows

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Table writes the report as Markdown. docs/choosing-a-flow.md contains this output.
func (r Report) Table(w io.Writer) error {
	var b strings.Builder
	for _, line := range r.setup() {
		b.WriteString(line + "\n")
	}
	for _, part := range []table{r.loadTable(), r.outageTable()} {
		fmt.Fprintf(&b, "\n| %s |\n|---|%s\n", strings.Join(part.head, " | "), strings.Repeat("---:|", len(part.head)-1))
		for _, row := range part.rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", r.verdict())
	_, err := io.WriteString(w, b.String())
	return err
}

// table is a table of the report, for Markdown and for the page.
type table struct {
	title string
	head  []string
	rows  [][]string
}

// setup describes what was measured, and where.
func (r Report) setup() []string {
	timers := "their defaults"
	if len(r.Settings) > 0 {
		timers = pairs(r.Settings, "=")
	}
	return []string{
		fmt.Sprintf("One shop with %d replicas of each service, strategy %s. %d buyers, each of which orders again when its order is decided; %s.",
			r.Replicas, r.Strategy, r.Connections, repetitions(r.repetitions(), r.Period)),
		fmt.Sprintf("%s, %d cores, %s (%s), %s, %s. Timers of the services: %s.",
			cmp.Or(r.Machine.CPU, "unknown processor"), r.Machine.Cores, r.Machine.Database, r.Machine.Durability(), r.Broker,
			r.StartedAt.Format(time.DateOnly), timers),
	}
}

func (r Report) repetitions() int {
	n := 0
	for _, c := range r.Cells {
		n = max(n, c.Repetition)
	}
	return n
}

func repetitions(n int, period float64) string {
	if n == 1 {
		return fmt.Sprintf("one measurement of %.1f s for each flow", period)
	}
	return fmt.Sprintf("medians of %d interleaved measurements of %.1f s", n, period)
}

func (r Report) loadTable() table {
	t := table{title: "Load", head: []string{"flow", "first answer, p50 / p99", "client knows, p50 / p99", "orders/s", "statements", "commits", "messages"}}
	for _, flow := range r.Flows() {
		s := r.Summary(flow)
		orders := fmt.Sprintf("%.0f", s.Throughput)
		if refused := sum(s.Refusals); refused+s.Failed > 0 {
			orders += fmt.Sprintf(" (%d refused, %d failed)", refused, s.Failed)
		}
		t.rows = append(t.rows, []string{
			flow, fmt.Sprintf("%.1f / %.1f ms", s.FirstP50, s.FirstP99), fmt.Sprintf("%.1f / %.1f ms", s.KnownP50, s.KnownP99), orders,
			fmt.Sprintf("%.1f", s.Statements), fmt.Sprintf("%.2f", s.Commits), messages(s.Messages),
		})
	}
	return t
}

func (r Report) outageTable() table {
	t := table{
		title: fmt.Sprintf("Inventory does not answer for %.0f s, %.0f orders arrive per second", r.outageSeconds(), r.Rate),
		head:  []string{fmt.Sprintf("outage of %.1f s, %.0f orders/s", r.outageSeconds(), r.Rate), "sent", "refused", "most in doubt", "placed", "ended otherwise", "decided after", "settled after"},
	}
	for _, o := range r.Outages {
		refused := fmt.Sprint(o.Refused)
		if o.Refused > 0 {
			refused += " (" + countsText(o.Refusals) + ")"
		}
		t.rows = append(t.rows, []string{
			o.Flow, fmt.Sprint(o.Sent), refused, fmt.Sprint(o.MostInDoubt), fmt.Sprint(o.Placed), cmp.Or(countsText(o.Ended), "0"),
			fmt.Sprintf("%.1f s", max(o.Decided, o.Known)), fmt.Sprintf("%.1f s", o.Settled),
		})
	}
	return t
}

func (r Report) outageSeconds() float64 {
	if len(r.Outages) == 0 {
		return 0
	}
	return r.Outages[0].Seconds
}

// verdict says in one line what the audits found.
func (r Report) verdict() string {
	if broken := r.Broken(); len(broken) > 0 {
		return fmt.Sprintf("The audits had %d findings: %s", len(broken), strings.Join(broken, "; "))
	}
	if !r.Audit.Ran {
		return "The run ended before the audit."
	}
	return fmt.Sprintf("Audits after each outage and at the end, wallets included: no finding in %d orders.", sum(r.Audit.Orders))
}

func messages(n float64) string {
	if n < 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.1f", n)
}

func sum(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

// countsText lists counts in the order of their names: "12 ABANDONED, 3 REJECTED".
func countsText(counts map[string]int) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%d %s", counts[name], name))
	}
	return strings.Join(words, ", ")
}

func pairs(m map[string]string, between string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		words = append(words, name+between+m[name])
	}
	return strings.Join(words, ", ")
}

// figure formats a value with a precision that fits its size.
func figure(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}
