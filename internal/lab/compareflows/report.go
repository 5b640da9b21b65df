package compareflows

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"holdfast/internal/lab/machine"
	"holdfast/internal/lab/report"
	"holdfast/internal/lab/stats"
)

// unknown is the number of messages if the broker does not count.
const unknown = -1

// Report is the result of one run, and the content of compare-flows.json.
type Report struct {
	Preset      string            `json:"preset"`
	StartedAt   time.Time         `json:"started_at"`
	Took        float64           `json:"took_s"`
	Period      float64           `json:"period_s"` // of one repetition
	Connections int               `json:"connections"`
	Rate        float64           `json:"outage_orders_per_s"`
	Replicas    int               `json:"replicas"` // of each service
	Strategy    string            `json:"strategy"` // of the stock
	Settings    map[string]string `json:"settings"` // of the services, where they are not the default
	Machine     machine.Machine   `json:"machine"`
	Broker      string            `json:"broker"`
	Idle        Idle              `json:"idle"`
	Cells       []Cell            `json:"cells"` // in the order in which they ran
	Outages     []Outage          `json:"outages"`
	Audit       Audit             `json:"audit"`
}

// Idle is what the shop does without orders. It is subtracted from what the orders cost.
type Idle struct {
	Statements float64 `json:"statements_per_s"`
	Commits    float64 `json:"commits_per_s"`
	Messages   float64 `json:"messages_per_s"`
}

// Cell is one repetition of the load on one flow.
type Cell struct {
	Flow       string `json:"flow"`
	Repetition int    `json:"repetition"` // from 1

	Orders     int            `json:"orders"` // PLACED
	Throughput float64        `json:"orders_per_s"`
	FirstP50   float64        `json:"first_p50_ms"` // until the first answer
	FirstP99   float64        `json:"first_p99_ms"`
	KnownP50   float64        `json:"known_p50_ms"` // until the answer that decides the order
	KnownP99   float64        `json:"known_p99_ms"`
	Refusals   map[string]int `json:"refusals,omitempty"` // orders that were not taken, by code
	Failed     int            `json:"failed"`             // orders that ended otherwise than PLACED

	Statements float64 `json:"statements"` // an order
	Commits    float64 `json:"commits"`
	Messages   float64 `json:"messages"` // copies stored by the broker; -1: unknown
}

// Outage is what happened to a flow's orders while inventory did not answer.
type Outage struct {
	Flow    string  `json:"flow"`
	Seconds float64 `json:"seconds"`

	Sent        int            `json:"sent"`
	Placed      int            `json:"placed"`          // at last
	Ended       map[string]int `json:"ended,omitempty"` // orders that were taken and not placed, by status
	Refused     int            `json:"refused"`         // orders that were not taken
	Refusals    map[string]int `json:"refusals,omitempty"`
	MostInDoubt int            `json:"most_in_doubt"` // PENDING at the same time

	// The times count from the end of the outage.
	Decided float64 `json:"decided_s"` // no order is PENDING
	Known   float64 `json:"known_s"`   // every client knows
	Settled float64 `json:"settled_s"` // an audit finds nothing in flight

	Findings []string `json:"findings,omitempty"` // of the audit after it
}

// Audit is the full audit at the end.
type Audit struct {
	Ran      bool           `json:"ran"`
	Orders   map[string]int `json:"orders"` // by status
	Findings []string       `json:"findings,omitempty"`
}

func newReport(o Options) Report {
	return Report{
		Preset: o.Preset.Name, StartedAt: time.Now().UTC(), Period: o.Preset.Time.Seconds(), Connections: o.Preset.Connections,
		Rate: o.Preset.Rate, Replicas: replicas, Strategy: strategy, Settings: o.Preset.Settings,
	}
}

// Broken describes what the audits found, by flow. It should be empty.
func (r Report) Broken() []string {
	var broken []string
	for _, o := range r.Outages {
		for _, f := range o.Findings {
			broken = append(broken, o.Flow+": "+f)
		}
	}
	for _, f := range r.Audit.Findings {
		broken = append(broken, "at the end: "+f)
	}
	return broken
}

// Flows returns the flows in the order of their first run.
func (r Report) Flows() []string {
	return stats.Distinct(r.Cells, func(c Cell) string { return c.Flow })
}

// Summary combines the repetitions of one flow with its outage.
type Summary struct {
	Cell           // medians; Failed and Refusals are sums
	Outage *Outage // nil: the run ended before it
}

// Summary returns what was measured of a flow. A flow without cells has zeroes.
func (r Report) Summary(flow string) Summary {
	var cells []Cell
	s := Summary{Cell: Cell{Flow: flow}}
	for _, c := range r.Cells {
		if c.Flow != flow {
			continue
		}
		cells = append(cells, c)
		s.Orders += c.Orders
		s.Failed += c.Failed
		for code, n := range c.Refusals {
			if s.Refusals == nil {
				s.Refusals = map[string]int{}
			}
			s.Refusals[code] += n
		}
	}
	s.Repetition = len(cells)
	s.Throughput = median(cells, func(c Cell) float64 { return c.Throughput })
	s.FirstP50, s.FirstP99 = median(cells, func(c Cell) float64 { return c.FirstP50 }), median(cells, func(c Cell) float64 { return c.FirstP99 })
	s.KnownP50, s.KnownP99 = median(cells, func(c Cell) float64 { return c.KnownP50 }), median(cells, func(c Cell) float64 { return c.KnownP99 })
	s.Statements, s.Commits = median(cells, func(c Cell) float64 { return c.Statements }), median(cells, func(c Cell) float64 { return c.Commits })
	s.Messages = median(cells, func(c Cell) float64 { return c.Messages })
	if i := slices.IndexFunc(r.Outages, func(o Outage) bool { return o.Flow == flow }); i >= 0 {
		s.Outage = &r.Outages[i]
	}
	return s
}

// Read reads the report of an earlier run. A report without cells, or of another kind, is an error.
func Read(file string) (Report, error) {
	var r Report
	b, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", file, err)
	}
	if len(r.Flows()) == 0 || r.Flows()[0] == "" {
		return r, fmt.Errorf("read %s: %w", file, errors.New("the file has no flows"))
	}
	return r, nil
}

// Write writes compare-flows.json and compare-flows.html into dir. The page is a single file and needs no network.
func (r Report) Write(dir string) error { return report.Write(dir, "compare-flows", r, r.page) }
