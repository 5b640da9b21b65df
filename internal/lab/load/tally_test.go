package load

import (
	"errors"
	"testing"
	"time"
)

// TestTally: an order that is placed at its deadline is good, one without an answer is broken whatever was read of it,
// and what is not measured is not counted.
func TestTally(t *testing.T) {
	t.Parallel()
	lost := errors.New("connection reset")
	for _, tt := range []struct {
		name   string
		status int
		err    error
		took   time.Duration
		counts func(*Tally) int64
	}{
		{"at the deadline", 201, nil, time.Second, func(t *Tally) int64 { return t.Good.Load() }},
		{"after it", 201, nil, time.Second + 1, func(t *Tally) int64 { return t.Late.Load() }},
		{"cut", 201, lost, time.Millisecond, func(t *Tally) int64 { return t.Broken.Load() }},
		{"timed out at the gateway", 504, nil, time.Millisecond, func(t *Tally) int64 { return t.Unavailable.Load() }},
		{"no order", 200, nil, time.Millisecond, func(t *Tally) int64 { return t.Other.Load() }},
	} {
		tally := &Tally{deadline: time.Second}
		tally.add(tt.status, tt.err, tt.took)
		if n := tally.Sent.Load() + tt.counts(tally); n != 0 || tally.Placed.Quantile(1) != 0 {
			t.Errorf("%s: was counted although nothing is measured", tt.name)
		}
		tally.measured.Store(true)
		tally.add(tt.status, tt.err, tt.took)
		if tally.Sent.Load() != 1 || tt.counts(tally) != 1 {
			t.Errorf("%s: sent %d, counted %d, want one each", tt.name, tally.Sent.Load(), tt.counts(tally))
		}
		if hasLatency := tally.Placed.Quantile(1) != 0; hasLatency != (tt.status == 201 && tt.err == nil) {
			t.Errorf("%s: a latency of placed orders is %v", tt.name, hasLatency)
		}
	}
}

// TestHistogram_bounds: a quantile is never below the duration that it stands for, and at most one bucket above it. The
// shortest and the longest durations have buckets, too.
func TestHistogram_bounds(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{11 * time.Microsecond, 999 * time.Microsecond, time.Second, 15 * time.Second} {
		var h Histogram
		h.add(d)
		if got := h.Quantile(1); got < d || float64(got) > 1.06*float64(d) {
			t.Errorf("%v is counted as %v", d, got)
		}
	}
	var h Histogram
	for _, d := range []time.Duration{-time.Second, 0, 10 * time.Microsecond} { // a clock may go back
		h.add(d)
	}
	if got := h.Quantile(1); got != 10*time.Microsecond {
		t.Errorf("the shortest durations are counted as %v", got)
	}
	h.add(1000 * time.Hour)
	if got := h.Quantile(0.75); got != 10*time.Microsecond {
		t.Errorf("three of four durations are short, and the quantile is %v", got)
	}
	if got := h.Quantile(1); got < 20*time.Second {
		t.Errorf("the longest duration is counted as %v", got)
	}
}
