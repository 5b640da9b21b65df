package batch

import (
	"sync/atomic"
	"time"
)

// Pace bounds batches by what the work behind a flush does in a time, for [WithLimit]. Work that is done one item after
// the other gets small batches, work that is done for all items together gets large ones. It is safe for concurrent
// use.
type Pace struct {
	first, most int
	time        time.Duration
	limit       atomic.Int64 // 0: first
}

// NewPace returns a pace whose limit is first until it is known and never above most. A batch should need no longer
// than time.
func NewPace(first, most int, time time.Duration) *Pace {
	return &Pace{first: first, most: most, time: time}
}

// Note takes how long the work of a batch of n items took. Only a batch of about as many items as the limit allows says
// something about the limit.
func (p *Pace) Note(n int, took time.Duration) {
	limit := p.Limit()
	switch {
	case 2*n < limit:
	case took > p.time:
		p.limit.Store(max(1, int64(n)*int64(p.time)/int64(took)))
	case took < p.time/2:
		p.limit.Store(min(int64(p.most), 2*int64(limit)))
	}
}

// Limit returns how many items a batch may have now.
func (p *Pace) Limit() int {
	if limit := p.limit.Load(); limit > 0 {
		return int(limit)
	}
	return p.first
}
