package main

import (
	"math"
	"sync/atomic"
	"time"
)

// tally counts the outcomes of the orders of one load. Its fields are safe for concurrent use.
type tally struct {
	deadline time.Duration
	measured atomic.Bool // if false, orders are sent but not counted

	sent, unsent               atomic.Int64 // unsent: no connection was free when the order was due
	good, late                 atomic.Int64 // 201 within the deadline, and after it
	pending, refused, soldOut  atomic.Int64 // 202, 429, 409
	unavailable, other, broken atomic.Int64 // 503 and 504; any other status; no answer

	placed, limited histogram // latencies of 201 and of 429
}

// add counts an answer. took is the time since the order was due, so it includes delays of the generator.
func (t *tally) add(status int, err error, took time.Duration) {
	if !t.measured.Load() {
		return
	}
	t.sent.Add(1)
	switch {
	case err != nil:
		t.broken.Add(1)
	case status == 201:
		t.placed.add(took)
		if took <= t.deadline {
			t.good.Add(1)
		} else {
			t.late.Add(1)
		}
	case status == 202:
		t.pending.Add(1)
	case status == 429:
		t.limited.add(took)
		t.refused.Add(1)
	case status == 409:
		t.soldOut.Add(1)
	case status == 503 || status == 504:
		t.unavailable.Add(1)
	default:
		t.other.Add(1)
	}
}

// A histogram counts durations in buckets that grow by 5 %, from 10 µs to 20 s.
type histogram struct{ buckets [histogramSize]atomic.Int64 }

const (
	histogramSize = 300
	histogramBase = 1.05
	histogramUnit = 10 * time.Microsecond
)

func (h *histogram) add(d time.Duration) {
	i := 0
	if d > histogramUnit {
		i = int(math.Log(float64(d)/float64(histogramUnit))/math.Log(histogramBase)) + 1
	}
	h.buckets[min(i, histogramSize-1)].Add(1)
}

// quantile returns the upper bound of the bucket that contains the q-quantile, or 0 if the histogram is empty.
func (h *histogram) quantile(q float64) time.Duration {
	var total int64
	for i := range h.buckets {
		total += h.buckets[i].Load()
	}
	rank, seen := int64(math.Ceil(q*float64(total))), int64(0)
	for i := range h.buckets {
		seen += h.buckets[i].Load()
		if seen >= rank && seen > 0 {
			return time.Duration(float64(histogramUnit) * math.Pow(histogramBase, float64(i)))
		}
	}
	return 0
}
