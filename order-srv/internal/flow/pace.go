package flow

import (
	"sync/atomic"
	"time"
)

const (
	// MaxGroup is how many orders a group has at most.
	MaxGroup = 500

	firstGroup = 64 // the limit until inventory's pace is known

	// groupTime is how long inventory may need for a group. It is a fraction of attemptTimeout: the answers to a group
	// come together, and a call that is cut leaves all of them without one.
	groupTime = 250 * time.Millisecond
)

// pace bounds groups by what inventory reserves in groupTime. A strategy that reserves one order after the other gets
// small groups, one that batches gets large ones.
type pace struct {
	limit atomic.Int64 // 0: firstGroup
}

// note takes a call. Only a call of about as many orders as the limit allows says something about the limit.
func (p *pace) note(orders int, took time.Duration) {
	limit := p.orders()
	switch {
	case 2*orders < limit:
	case took > groupTime:
		p.limit.Store(max(1, int64(orders)*int64(groupTime)/int64(took)))
	case took < groupTime/2:
		p.limit.Store(min(MaxGroup, 2*int64(limit)))
	}
}

func (p *pace) orders() int {
	if limit := p.limit.Load(); limit > 0 {
		return int(limit)
	}
	return firstGroup
}

// GroupLimit returns how many orders a group may have now.
func (r *Resolver) GroupLimit() int { return r.pace.orders() }
