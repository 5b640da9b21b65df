package flow

import (
	"context"
	"sync/atomic"
	"time"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/telemetry"
)

// Member is an order that is being placed in a group, with what its caller waits for.
type Member struct {
	order.Order // PENDING
	Caller

	deliver func(Result)
	decided atomic.Bool // an answer was delivered

	open  bool // the order's row is PENDING, or its status is unknown
	maybe bool // an attempt to reserve may have been executed, or may still be waiting in a queue
	last  error
}

// NewMember returns the member of an order. deliver, which may be called from any goroutine, gets the answer once; nil:
// there is no caller.
func NewMember(o order.Order, c Caller, deliver func(Result)) *Member {
	return &Member{Order: o, Caller: c, deliver: deliver, open: true}
}

// Caller is what an order has of its request.
type Caller struct {
	Deadline  time.Time
	RequestID string
}

// CallerOf returns the deadline and the request id of a request's context.
func CallerOf(ctx context.Context) Caller {
	deadline, _ := ctx.Deadline()
	return Caller{Deadline: deadline, RequestID: telemetry.RequestID(ctx)}
}

// Answer delivers a result to the caller, unless it has one.
func (m *Member) Answer(r Result) {
	if m.decided.CompareAndSwap(false, true) && m.deliver != nil {
		m.deliver(r)
	}
}

// end answers with the way in which the order ended.
func (m *Member) end(r Result) {
	m.open = false
	m.Answer(r)
}

// leave answers that the order is PENDING. Its flow recovers it later if nothing else ends it.
func (m *Member) leave() { m.Answer(Result{Order: m.Order}) }

// reserveEnd is when no attempt to reserve may run any more for the member.
func (m *Member) reserveEnd() time.Time { return m.Deadline.Add(-DecideTime) }

// latest returns the latest deadline of the members.
func latest(group []*Member) time.Time {
	var end time.Time
	for _, m := range group {
		if m.Deadline.After(end) {
			end = m.Deadline
		}
	}
	return end
}
