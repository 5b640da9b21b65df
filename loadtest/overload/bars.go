package main

import "fmt"

// The bars.
const (
	goodputShare   = 0.8   // of the capacity, at an offered load of ten times the capacity
	abandonedShare = 0.01  // of the accepted orders
	memoryBar      = 100e6 // bytes of each service, at its peak and after the rest period
)

// bar is a condition that the result has to meet.
type bar struct {
	Name string `json:"name"`
	Seen string `json:"seen"`
	Met  bool   `json:"met"`
}

// String returns the bar on one line.
func (b bar) String() string {
	verdict := "met   "
	if !b.Met {
		verdict = "MISSED"
	}
	return fmt.Sprintf("%s  %s: %s", verdict, b.Name, b.Seen)
}

func (r *report) missed() int {
	n := 0
	for _, b := range r.Bars {
		if !b.Met {
			n++
		}
	}
	return n
}

// judge computes the bars.
func (r *report) judge() {
	r.Bars = nil
	bar := func(name string, met bool, seen string, args ...any) {
		r.Bars = append(r.Bars, newBar(name, met, fmt.Sprintf(seen, args...)))
	}
	bar("the closed loop places orders", r.Capacity > 0, "%.0f per second", r.Capacity)
	for _, one := range r.Rows {
		if one.Factor != 10 {
			continue
		}
		share := one.Goodput / max(r.Capacity, 1)
		bar(fmt.Sprintf("goodput at 10 times the capacity, %d connections, is at least 80 %% of it", one.Connections),
			share >= goodputShare, "%.0f per second, %.0f %%", one.Goodput, 100*share)
		bar(fmt.Sprintf("the intended load was offered, %d connections", one.Connections),
			float64(one.Unsent) < 0.1*float64(one.Sent+one.Unsent), "%d of %d found no free connection", one.Unsent, one.Sent+one.Unsent)
	}
	share := float64(r.Abandoned) / float64(max(r.accepted(), 1))
	bar("less than 1 % of the accepted orders are abandoned", share < abandonedShare, "%d of %d, %.2f %%", r.Abandoned, r.accepted(), 100*share)
	for _, name := range services() {
		peak := 0.0
		for _, one := range r.Rows {
			peak = max(peak, one.Peak[name].Memory)
		}
		if after, ok := r.After[name]; ok {
			bar(name+" stays below 100 MB", peak < memoryBar && after.Memory < memoryBar, "peak %.0f MB, after the rest %.0f MB", peak/1e6, after.Memory/1e6)
		}
	}
	if len(r.After) > 0 {
		bar("no check-backs at the end of the rest", r.LateChecks == 0, "%.0f", r.LateChecks)
	}
	bar("the audit is clean", r.Violations == 0 && r.Unsettled == 0, "%d violations, %d unsettled", r.Violations, r.Unsettled)
}

func newBar(name string, met bool, seen string) bar { return bar{Name: name, Seen: seen, Met: met} }
