package flow

import (
	"context"
	"sync"
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/pkg/crash"
	"holdfast/pkg/fault"
)

// Participant takes part in placing an order beside inventory.
type Participant interface {
	// Try does its part of an order for which inventory has reserved. It may be called again for the same order, and must
	// then do nothing twice. Errors are faults.
	Try(ctx context.Context, o order.Order, amountCents int64) error
	// Refused reports whether an error of Try is its last word. Any other failure is retried.
	Refused(err error) bool
}

// try has the participants of members for which inventory has reserved do their part, all at the same time. What keeps
// a participant from it becomes the member's failure.
func (r *Resolver) try(ctx context.Context, group []*Member, receipts []*inventoryapi.Receipt, failures []error) {
	var trying []int
	for i, m := range group {
		if m.participant != nil && failures[i] == nil {
			m.held = true
			trying = append(trying, i)
		}
	}
	if len(trying) == 0 {
		return
	}
	crash.AtGroup(crash.OrderStockTried, len(trying))
	var running sync.WaitGroup
	for _, i := range trying {
		running.Go(func() { failures[i] = tryOne(ctx, group[i], receipts[i].AmountCents) })
	}
	running.Wait()
	tried := 0
	for _, i := range trying {
		if failures[i] == nil {
			tried++
		}
	}
	if tried > 0 {
		crash.AtGroup(crash.OrderFrozen, tried)
	}
}

// tryOne calls a participant once, unless so little time is left that the call would be cut.
func tryOne(ctx context.Context, m *Member, amountCents int64) error {
	end := time.Now().Add(attemptTimeout)
	if m.reserveEnd().Before(end) {
		end = m.reserveEnd()
	}
	if time.Until(end) < leastAttempt {
		return fault.ErrTimeout.NotExecuted()
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	return m.participant.Try(ctx, m.Order, amountCents)
}
