package main

import (
	_ "embed" // for the page
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"holdfast/internal/lab/load"
)

// report is the content of overload.json.
type report struct {
	Started  time.Time     `json:"started"`
	Strategy string        `json:"strategy"` // "" means the service's own strategy
	Slow     int           `json:"slow"`     // KB per second that the services send to the database at most; 0: no limit
	SKU      string        `json:"sku"`
	CPUs     int           `json:"cpus"`
	Deadline time.Duration `json:"deadline_ns"`
	Capacity float64       `json:"capacity"` // orders per second of the best closed loop
	Rows     []row         `json:"rows"`

	Abandoned  int                `json:"abandoned"` // orders abandoned during the run
	Before     map[string]figures `json:"before"`
	After      map[string]figures `json:"after"` // after the rest period
	LateChecks float64            `json:"late_checks"`
	Violations int                `json:"violations"`
	Unsettled  int                `json:"unsettled"`
	Findings   []string           `json:"findings"` // the first findings
	Bars       []bar              `json:"bars"`

	abandonedAfter int
}

// row is the result of one load.
type row struct {
	Load        string  `json:"load"`
	Factor      float64 `json:"factor"` // multiple of the capacity; 0 for a closed loop
	Connections int     `json:"connections"`
	Offered     float64 `json:"offered"` // per second
	Goodput     float64 `json:"goodput"` // answers 201 within the deadline, per second

	Sent        int64 `json:"sent"`
	Placed      int64 `json:"placed"` // 201, including late ones
	Late        int64 `json:"late"`
	Pending     int64 `json:"pending"` // 202
	Refused     int64 `json:"refused"` // 429
	SoldOut     int64 `json:"sold_out"`
	Unavailable int64 `json:"unavailable"` // 503, 504
	Other       int64 `json:"other"`
	Broken      int64 `json:"broken"` // no answer
	Unsent      int64 `json:"unsent"` // no connection was free

	P50        time.Duration `json:"p50_ns"` // of 201
	P99        time.Duration `json:"p99_ns"`
	RefusedP99 time.Duration `json:"refused_p99_ns"`

	Peak         map[string]figures `json:"peak"`
	GeneratorCPU float64            `json:"generator_cpu"` // cores
}

func (r *row) fill(t *load.Tally, measured time.Duration) {
	r.Sent, r.Unsent = t.Sent.Load(), t.Unsent.Load()
	r.Placed, r.Late = t.Good.Load()+t.Late.Load(), t.Late.Load()
	r.Pending, r.Refused, r.SoldOut = t.Pending.Load(), t.Refused.Load(), t.SoldOut.Load()
	r.Unavailable, r.Other, r.Broken = t.Unavailable.Load(), t.Other.Load(), t.Broken.Load()
	r.P50, r.P99, r.RefusedP99 = t.Placed.Quantile(0.5), t.Placed.Quantile(0.99), t.Limited.Quantile(0.99)
	r.Offered = float64(r.Sent+r.Unsent) / measured.Seconds()
	r.Goodput = float64(t.Good.Load()) / measured.Seconds()
}

// best returns the highest goodput of the closed loops.
func (r *report) best() float64 {
	best := 0.0
	for _, one := range r.Rows {
		if one.Factor == 0 {
			best = max(best, one.Goodput)
		}
	}
	return best
}

func (r *report) accepted() int64 {
	n := int64(0)
	for _, one := range r.Rows {
		n += one.Placed + one.Pending
	}
	return n
}

// write writes overload.json and overload.html into dir. The page needs no network.
func (r *report) write(dir string) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "overload.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "overload.html"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return r.page(f)
}

//go:embed page.html
var pageHTML string

func (r *report) page(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{"ms": ms, "mb": mb}).Parse(pageHTML)
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{"Report": r, "Accepted": r.accepted(), "Services": services(), "Series": r.series()})
}

func services() []string { return []string{"api-gateway", "order-srv", "inventory-srv"} }

// print prints the table and the bars.
func (r *report) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nload\tconns\toffered/s\tgoodput/s\t429\t202\t503\tother\tno answer\tunsent\tp50\tp99\t429 p99\tMB gateway\torder\tinventory\tgen CPU\t")
	for _, one := range r.Rows {
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%.0f\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t", one.Load, one.Connections, one.Offered, one.Goodput,
			one.Refused, one.Pending, one.Unavailable, one.Other+one.SoldOut, one.Broken, one.Unsent, ms(one.P50), ms(one.P99), ms(one.RefusedP99))
		for _, name := range services() {
			fmt.Fprintf(w, "%s\t", mb(one.Peak, name))
		}
		fmt.Fprintf(w, "%.2f\t\n", one.GeneratorCPU)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nafter the rest, MB:")
	for _, name := range services() {
		fmt.Fprintf(out, " %s %s", name, mb(r.After, name))
	}
	fmt.Fprintf(out, "\naccepted %d, of which abandoned %d\n", r.accepted(), r.Abandoned)
	for _, f := range r.Findings {
		fmt.Fprintf(out, "audit: %s\n", f)
	}
	for _, b := range r.Bars {
		fmt.Fprintln(out, b)
	}
	return nil
}

func ms(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64) + " ms"
}

func mb(f map[string]figures, name string) string {
	one, ok := f[name]
	if !ok {
		return "-"
	}
	return strconv.FormatFloat(one.Memory/1e6, 'f', 0, 64)
}
