package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"holdfast/internal/lab/stats"
)

// sample is one repetition of one library.
type sample struct {
	p50, p90, p99 time.Duration // waits in the open loop
	drain         time.Duration // of the burst
	openCommands  float64       // for each acquisition
	burstCommands float64
	failed        int
}

// report is what was measured.
type report struct {
	config config
	trips  map[string]float64  // by name: uncontended, acquire and release
	runs   map[string][]sample // by name, in the order of the repetitions
}

// The bars that pkg/lock has to meet.
const (
	barRueidis = 1.5      // p99 of the wait, as a multiple of rueidislock's
	barRedsync = 1.0 / 30 // of redsync's with its defaults
	barDrain   = 1.2      // of the ideal
	barTrips   = 2.0
)

func (r *report) print(out io.Writer, redis string) error {
	c := r.config
	ideal := time.Duration(c.burst) * c.hold
	fmt.Fprintf(out, "%d repetitions; each library has %d clients; the lock is held for %v; Redis %s, %s, %d CPUs\n",
		c.repetitions, c.clients, c.hold, redis, runtime.Version(), runtime.NumCPU())
	fmt.Fprintf(out, "open loop: %d Poisson arrivals, the lock is busy %.0f %% of the time; burst: %d at once, ideal %v\n",
		c.arrivals, 100*c.busy, c.burst, ideal)
	fmt.Fprint(out, "median (lowest - highest) of the repetitions; waits and drain in ms; commands by the server's own count\n\n")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tOPEN LOOP: WAIT\t\t\t\tBURST\t\tUNCONTENDED\t")
	fmt.Fprintln(w, "LIBRARY\tp50\tp90\tp99\tcommands\tdrain\tcommands\tround trips\tFAILED")
	for _, s := range subjects() {
		runs := r.runs[s.name]
		failed := 0
		for _, one := range runs {
			failed += one.failed
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.1f\t%s\t%.1f\t%.2f\t%d\n", s.name,
			millis(runs, func(s sample) time.Duration { return s.p50 }),
			millis(runs, func(s sample) time.Duration { return s.p90 }),
			millis(runs, func(s sample) time.Duration { return s.p99 }),
			stats.Median(column(runs, func(s sample) float64 { return s.openCommands })),
			millis(runs, func(s sample) time.Duration { return s.drain }),
			stats.Median(column(runs, func(s sample) float64 { return s.burstCommands })),
			r.trips[s.name], failed)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	r.printBars(out, ideal)
	return nil
}

// printBars compares pair by pair: what one repetition met, all libraries met.
func (r *report) printBars(out io.Writer, ideal time.Duration) {
	ours := r.runs[nameOurs]
	p99 := func(s sample) time.Duration { return s.p99 }
	rueidis := ratios(ours, r.runs[nameRueidis], p99)
	redsync := ratios(ours, r.runs[nameRedsync], p99)
	drain := column(ours, func(s sample) float64 { return float64(s.drain) / float64(ideal) })
	fmt.Fprintf(out, "\n%s, ratios of each repetition:\n", nameOurs)
	bar := func(what string, got []float64, most float64, format string) {
		verdict := "met"
		switch {
		case slices.ContainsFunc(got, func(ratio float64) bool { return ratio == 0 || math.IsNaN(ratio) || math.IsInf(ratio, 0) }):
			verdict = "NOT MEASURED, in a repetition no request got the lock"
		case stats.Median(got) > most:
			verdict = "NOT MET"
		}
		fmt.Fprintf(out, "  %-44s "+format+" ("+format+" - "+format+"), bar "+format+": %s\n",
			what, stats.Median(got), slices.Min(got), slices.Max(got), most, verdict)
	}
	bar("p99 wait / rueidislock's", rueidis, barRueidis, "%.2f")
	bar("p99 wait / redsync's with its defaults", redsync, barRedsync, "%.4f")
	bar("drain of the burst / the ideal", drain, barDrain, "%.2f")
	bar("uncontended round trips, acquire and release", []float64{r.trips[nameOurs]}, barTrips, "%.2f")
}

func column(runs []sample, of func(sample) float64) []float64 {
	out := make([]float64, len(runs))
	for i, one := range runs {
		out[i] = of(one)
	}
	return out
}

func ratios(a, b []sample, of func(sample) time.Duration) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = float64(of(a[i])) / float64(of(b[i]))
	}
	return out
}

// millis is "median (lowest - highest)".
func millis(runs []sample, of func(sample) time.Duration) string {
	all := column(runs, func(s sample) float64 { return float64(of(s)) / float64(time.Millisecond) })
	return fmt.Sprintf("%.1f (%.1f - %.1f)", stats.Median(all), slices.Min(all), slices.Max(all))
}
