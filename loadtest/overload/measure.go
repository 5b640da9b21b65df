package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"

	"holdfast/internal/lab/load"
	"holdfast/internal/lab/shop"
	"holdfast/pkg/wait"
)

const (
	// lastInterval is the time at the end in which no check-back may occur: three of the broker's intervals.
	lastInterval = 10 * time.Second
	// auditPatience is how long the shop may take to come to rest, after the rest period.
	auditPatience = time.Minute
)

// measure runs the plan.
func measure(ctx context.Context, o options, admin *shop.Client, t load.Target, progress io.Writer) (*report, error) {
	r := &report{Started: time.Now().UTC(), Strategy: o.strategy, Slow: o.slow, SKU: t.Name + "-1", Deadline: o.deadline, CPUs: runtime.NumCPU()}
	before, err := admin.Audit(ctx, false, nil)
	if err != nil {
		return nil, fmt.Errorf("audit before the load: %w", err)
	}
	w := startWatch(ctx, o.ops)
	defer w.stop()
	r.Before = w.now(ctx)
	for _, n := range o.plan.Buyers {
		r.add(progress, w, row{Load: fmt.Sprintf("closed, %d buyers", n), Connections: n}, func() (*load.Tally, time.Duration) {
			return load.Run{Target: t, Name: fmt.Sprintf("closed%d", n), Connections: n, Time: o.plan.Closed, Deadline: o.deadline}.Closed(ctx)
		})
	}
	r.Capacity = r.best()
	fmt.Fprintf(progress, "capacity: %.0f orders per second\n", r.Capacity)
	for _, n := range o.plan.Connections {
		for _, factor := range o.plan.Factors {
			_ = wait.Sleep(ctx, o.plan.Pause)
			rate := factor * r.Capacity
			r.add(progress, w, row{Load: fmt.Sprintf("open, %g times", factor), Factor: factor, Connections: n}, func() (*load.Tally, time.Duration) {
				name := fmt.Sprintf("open%.0f-%d", rate, n)
				return load.Run{Target: t, Name: name, Connections: n, Time: o.plan.Open, Deadline: o.deadline}.Open(ctx, rate)
			})
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
	}
	fmt.Fprintf(progress, "rest for %v\n", o.plan.Rest)
	if err := r.rest(ctx, o, admin, w); err != nil {
		return nil, err
	}
	r.Abandoned = r.abandonedAfter - before.Orders["ABANDONED"]
	return r, nil
}

// add runs one load and appends its row.
func (r *report) add(progress io.Writer, w *watch, one row, run func() (*load.Tally, time.Duration)) {
	w.peaks()
	cpu, begin := load.CPUTime(), time.Now()
	t, measured := run()
	one.GeneratorCPU = (load.CPUTime() - cpu).Seconds() / time.Since(begin).Seconds()
	one.fill(t, measured)
	one.Peak = w.peaks()
	r.Rows = append(r.Rows, one)
	fmt.Fprintf(progress, "%-18s %5d connections: offered %6.0f/s, placed in time %5.0f/s, refused %6.0f/s, pending %d\n",
		one.Load, one.Connections, one.Offered, one.Goodput, float64(one.Refused)/measured.Seconds(), one.Pending)
}

// rest waits and then checks that the shop is at rest.
func (r *report) rest(ctx context.Context, o options, admin *shop.Client, w *watch) error {
	_ = wait.Sleep(ctx, max(0, o.plan.Rest-lastInterval))
	early := w.now(ctx)
	_ = wait.Sleep(ctx, lastInterval)
	r.After = w.now(ctx)
	for name, f := range r.After {
		r.LateChecks += f.Checks - early[name].Checks
	}
	for deadline := time.Now().Add(auditPatience); ; _ = wait.Sleep(ctx, time.Second) {
		found, err := admin.Audit(ctx, false, nil)
		if err == nil && len(found.Unsettled) == 0 || time.Now().After(deadline) || ctx.Err() != nil {
			if err != nil {
				return fmt.Errorf("audit after the load: %w", err)
			}
			r.Violations, r.Unsettled = len(found.Violations), len(found.Unsettled)
			r.abandonedAfter = found.Orders["ABANDONED"]
			for _, v := range append(found.Violations, found.Unsettled...) {
				if len(r.Findings) < 20 {
					r.Findings = append(r.Findings, v.String())
				}
			}
			return nil
		}
	}
}
