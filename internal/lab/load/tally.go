package load

import (
	"math"
	"sync/atomic"
	"time"
)

// Tally counts the outcomes of the orders of one load. Its fields are safe for concurrent use.
type Tally struct {
	deadline time.Duration
	measured atomic.Bool // if false, orders are sent but not counted

	Sent, Unsent               atomic.Int64 // unsent: no connection was free when the order was due
	Good, Late                 atomic.Int64 // 201 within the deadline, and after it
	Pending, Refused, SoldOut  atomic.Int64 // 202, 429, 409
	Unavailable, Other, Broken atomic.Int64 // 503 and 504; any other status; no answer

	Placed, Limited Histogram // latencies of 201 and of 429
}

// add counts an answer. took is the time since the order was due, so it includes delays of the generator.
func (t *Tally) add(status int, err error, took time.Duration) {
	if !t.measured.Load() {
		return
	}
	t.Sent.Add(1)
	switch {
	case err != nil:
		t.Broken.Add(1)
	case status == 201:
		t.Placed.add(took)
		if took <= t.deadline {
			t.Good.Add(1)
		} else {
			t.Late.Add(1)
		}
	case status == 202:
		t.Pending.Add(1)
	case status == 429:
		t.Limited.add(took)
		t.Refused.Add(1)
	case status == 409:
		t.SoldOut.Add(1)
	case status == 503 || status == 504:
		t.Unavailable.Add(1)
	default:
		t.Other.Add(1)
	}
}

// A Histogram counts durations in buckets that grow by 5 %, from 10 µs to 20 s.
type Histogram struct{ buckets [histogramSize]atomic.Int64 }

const (
	histogramSize = 300
	histogramBase = 1.05
	histogramUnit = 10 * time.Microsecond
)

func (h *Histogram) add(d time.Duration) {
	i := 0
	if d > histogramUnit {
		i = int(math.Log(float64(d)/float64(histogramUnit))/math.Log(histogramBase)) + 1
	}
	h.buckets[min(i, histogramSize-1)].Add(1)
}

// Quantile returns the upper bound of the bucket that contains the q-quantile, or 0 if the histogram is empty.
func (h *Histogram) Quantile(q float64) time.Duration {
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
