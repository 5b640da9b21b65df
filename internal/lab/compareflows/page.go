package compareflows

import (
	_ "embed" // for the page
	"html/template"
	"io"
)

//go:embed page.html
var pageHTML string

// pageTable is a table of the page.
type pageTable struct {
	Title string
	Head  []string
	Rows  [][]string
}

// bar is a flow's bar in one of the page's charts.
type bar struct {
	Flow, Text string
	Width      float64 // percent of the longest
}

// chart shows one figure of all flows.
type chart struct {
	Title string
	Bars  []bar
}

func (r Report) charts() []chart {
	var charts []chart
	for _, f := range []struct {
		title, unit string
		value       func(Summary) float64
	}{
		{"Client knows, p99", "ms", func(s Summary) float64 { return s.KnownP99 }},
		{"Orders per second", "/s", func(s Summary) float64 { return s.Throughput }},
		{"Statements an order", "", func(s Summary) float64 { return s.Statements }},
		{"Settled after the outage", "s", func(s Summary) float64 {
			if s.Outage == nil {
				return 0
			}
			return s.Outage.Settled
		}},
	} {
		one, most := chart{Title: f.title}, 0.0
		for _, flow := range r.Flows() {
			most = max(most, f.value(r.Summary(flow)))
		}
		for _, flow := range r.Flows() {
			v := f.value(r.Summary(flow))
			one.Bars = append(one.Bars, bar{Flow: flow, Text: figure(v) + " " + f.unit, Width: 100 * v / max(most, 1e-9)})
		}
		charts = append(charts, one)
	}
	return charts
}

// page renders the report. It needs no script.
func (r Report) page(w io.Writer) error {
	t, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return err
	}
	var tables []pageTable
	for _, one := range []table{r.loadTable(), r.outageTable()} {
		tables = append(tables, pageTable{one.title, one.head, one.rows})
	}
	return t.Execute(w, map[string]any{
		"Report": r, "Setup": r.setup(), "Tables": tables, "Charts": r.charts(), "Verdict": r.verdict(), "Broken": len(r.Broken()) > 0,
	})
}
