package scale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"holdfast/internal/lab/bench"
	"holdfast/internal/lab/machine"
	"holdfast/internal/lab/stats"
)

// Options describes a measurement.
type Options struct {
	Sizes    []int // stored orders, ascending; 0 is always measured beside each
	Rounds   int   // of each size
	Dir      string
	Bin      string // folder with the services
	Broker   string
	Progress *slog.Logger
}

// FullAudit is an audit that proves everything.
type FullAudit struct {
	Orders   int            `json:"orders"`
	Seconds  float64        `json:"seconds"`
	MemoryMB map[string]int `json:"memory_mb"` // of each process: the most during the audit
	BeforeMB map[string]int `json:"before_mb"`
}

// Report is what was measured.
type Report struct {
	Machine   machine.Machine `json:"machine"`
	StartedAt time.Time       `json:"started_at"`
	Rounds    int             `json:"rounds"`
	Costs     []Cost          `json:"costs"`
	Loaded    map[int]float64 `json:"loaded_seconds"` // by stored orders: the time that loading the additional ones took
	Full      []FullAudit     `json:"full_audits"`
}

// Run starts two shops, one without a history and one whose history grows from size to size, and measures both in turn.
// It returns what was measured also with an error. The shops' data is deleted.
func Run(ctx context.Context, o Options) (r Report, err error) {
	r = Report{StartedAt: time.Now().UTC(), Rounds: o.Rounds, Loaded: map[int]float64{}}
	shops := make([]*site, 2)
	for i, name := range []string{"empty", "full"} {
		if shops[i], err = open(ctx, o, name); err != nil {
			return r, err
		}
		defer func() {
			clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			err = errors.Join(err, shops[i].stop(clean))
		}()
	}
	if r.Machine, err = machine.Describe(ctx, shops[0].pool); err != nil {
		return r, err
	}
	stored := 0
	for _, size := range o.Sizes {
		begun := time.Now()
		h := History{DB: shops[1].pool, Orders: "orders", Inventory: "inventory", Count: size - stored}
		if h.Count > 0 {
			err := inBulk(ctx, shops[1].pool, func() error {
				_, err := h.Generate(ctx)
				return err
			})
			if err != nil {
				return r, fmt.Errorf("generate: %w", err)
			}
			r.Loaded[size] = time.Since(begun).Seconds()
			o.Progress.InfoContext(ctx, "generated", "orders", h.Count, "seconds", int(r.Loaded[size]))
		}
		stored = max(size, stored)
		if err := r.full(ctx, o, shops[1], size); err != nil {
			return r, err
		}
		for n := 1; n <= o.Rounds; n++ {
			for _, s := range shops {
				one := round{s: s, name: fmt.Sprintf("size%d-%d", size, n), add: r.adder(s.name, size, n)}
				if err := one.run(ctx); err != nil {
					return r, fmt.Errorf("%s shop beside %d orders: %w", s.name, size, err)
				}
				o.Progress.InfoContext(ctx, "measured", "orders", size, "round", n, "shop", s.name)
			}
		}
	}
	return r, nil
}

// adder returns a function that adds a cost.
func (r *Report) adder(name string, size, n int) func(op string, units int, took time.Duration, used bench.Counters) {
	return func(op string, units int, took time.Duration, used bench.Counters) {
		var cpu time.Duration
		for process, t := range used.CPU {
			if process != "generator" {
				cpu += t
			}
		}
		of := float64(max(1, units))
		r.Costs = append(r.Costs, Cost{
			Shop: name, Orders: size, Round: n, Operation: op, Units: units, Wall: float64(took.Microseconds()) / of,
			CPU: float64(cpu.Microseconds()) / of, Statement: float64(used.Statements) / of, Rows: float64(used.RowsRead) / of,
		})
	}
}

// full measures an audit of everything, and the processes' memory meanwhile.
func (r *Report) full(ctx context.Context, o Options, s *site, size int) error {
	a := FullAudit{BeforeMB: s.memory(), MemoryMB: map[string]int{}}
	done := make(chan struct{})
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		tick := time.NewTicker(poll)
		defer tick.Stop()
		for {
			for name, mb := range s.memory() {
				a.MemoryMB[name] = max(a.MemoryMB[name], mb)
			}
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	begun := time.Now()
	report, err := s.audit(ctx, true)
	a.Seconds = time.Since(begun).Seconds()
	close(done)
	<-sampled
	if err != nil {
		return fmt.Errorf("audit of %d orders: %w", size, err)
	}
	if found := append(report.Violations, report.Unsettled...); len(found) > 0 {
		return fmt.Errorf("audit of %d orders: %d findings, the first: %s", size, len(found), found[0])
	}
	for _, n := range report.Orders {
		a.Orders += n
	}
	r.Full = append(r.Full, a)
	o.Progress.InfoContext(ctx, "audited everything", "orders", a.Orders, "seconds", int(a.Seconds), "memory_mb", a.MemoryMB["order-srv"])
	return nil
}

// Sizes returns the measured sizes, ascending.
func (r Report) Sizes() []int {
	return stats.Distinct(r.Costs, func(c Cost) int { return c.Orders })
}

// of returns the values of a figure by round.
func (r Report) of(shop string, size int, op string, figure func(Cost) float64) map[int]float64 {
	values := map[int]float64{}
	for _, c := range r.Costs {
		if c.Shop == shop && c.Orders == size && c.Operation == op {
			values[c.Round] = figure(c)
		}
	}
	return values
}

// pair returns the medians of the empty and of the full shop, and the median of the rounds' ratios.
func (r Report) pair(size int, op string, figure func(Cost) float64) (empty, full, ratio float64) {
	e, f := r.of("empty", size, op, figure), r.of("full", size, op, figure)
	var es, fs, ratios []float64
	for n, v := range f {
		if _, ok := e[n]; ok {
			es, fs, ratios = append(es, e[n]), append(fs, v), append(ratios, v/max(e[n], math.SmallestNonzeroFloat64))
		}
	}
	return stats.Median(es), stats.Median(fs), stats.Median(ratios)
}

// Table writes the report as Markdown.
func (r Report) Table(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores, %s, %s, buffer pool %s bytes, %s. Medians of %d rounds, in each of which the empty shop and the full one were measured in turn.\n",
		r.Machine.CPU, r.Machine.Cores, r.Machine.Database, r.Machine.Durability(), r.Machine.Settings["innodb_buffer_pool_size"],
		r.StartedAt.Format(time.DateOnly), r.Rounds)
	for _, f := range []struct {
		title, verb string
		figure      func(Cost) float64
	}{
		{"CPU of all processes, µs", "%.0f", func(c Cost) float64 { return c.CPU }},
		{"Statements", "%.2f", func(c Cost) float64 { return c.Statement }},
		{"Rows and index entries read", "%.1f", func(c Cost) float64 { return c.Rows }},
	} {
		fmt.Fprintf(&b, "\n%s:\n\n| operation | unit |", f.title)
		for _, size := range r.Sizes() {
			fmt.Fprintf(&b, " empty | %s orders |", thousands(size))
		}
		b.WriteString("\n|---|---|" + strings.Repeat("---|---|", len(r.Sizes())) + "\n")
		for _, op := range operations() {
			if !slices.ContainsFunc(r.Costs, func(c Cost) bool { return c.Operation == op.Name }) {
				continue // after an interruption
			}
			fmt.Fprintf(&b, "| %s | %s |", op.Name, op.Unit)
			for _, size := range r.Sizes() {
				empty, full, ratio := r.pair(size, op.Name, f.figure)
				fmt.Fprintf(&b, " "+f.verb+" | "+f.verb+" (%.2f×) |", empty, full, ratio)
			}
			b.WriteString("\n")
		}
	}
	b.WriteString("\nAn audit that proves everything:\n\n| orders | time | orders/s | order-srv before, most | inventory-srv before, most |\n|---|---|---|---|---|\n")
	for _, a := range r.Full {
		fmt.Fprintf(&b, "| %s | %.1f s | %.0f | %d, %d MB | %d, %d MB |\n", thousands(a.Orders), a.Seconds, float64(a.Orders)/a.Seconds,
			a.BeforeMB["order-srv"], a.MemoryMB["order-srv"], a.BeforeMB["inventory-srv"], a.MemoryMB["inventory-srv"])
	}
	for _, size := range r.Sizes() {
		if s, ok := r.Loaded[size]; ok {
			fmt.Fprintf(&b, "\nLoading up to %s orders took %.0f s.\n", thousands(size), s)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// thousands formats 1000000 as 1,000,000.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// Write writes the report's JSON.
func (r Report) Write(file string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o600)
}
