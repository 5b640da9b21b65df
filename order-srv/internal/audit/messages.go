package audit

import (
	"context"
	"fmt"
	"time"

	"holdfast/order-srv/check"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/fault"
)

// unsent returns how many messages both services' outboxes have to send, and the age of the oldest. A replica of
// inventory-srv of an earlier version has no outbox.
func (r *run) unsent(ctx context.Context) (n int, oldest time.Duration, err error) {
	if n, oldest, err = r.Store.Outbox().State(ctx); err != nil {
		return 0, 0, err
	}
	theirs, err := r.Inventory.Outbox(ctx, 1)
	if fault.KindOf(err) == fault.NotFound {
		return n, oldest, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("inventory's outbox: %w", err)
	}
	return n + theirs.Unsent, max(oldest, time.Duration(theirs.OldestMS)*time.Millisecond), nil
}

// answers adds inventory's answers to the orders of the flow that is decided by them. A replica of inventory-srv of an
// earlier version does not have them, and those to archived orders were deleted.
func (r *run) answers(ctx context.Context, orders []store.AuditedOrder, found []check.Order) error {
	var asked []string
	for _, o := range orders {
		if o.Flow == flow.NameOutbox && !o.Archived {
			asked = append(asked, o.OrderNo)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	refused, err := r.Inventory.Answers(ctx, asked)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return nil
	case err != nil:
		return fmt.Errorf("inventory's answers: %w", err)
	}
	for i, o := range orders {
		if o.Flow == flow.NameOutbox && !o.Archived {
			found[i].Answer = answerOf(refused, o.OrderNo)
		}
	}
	return nil
}

func answerOf(refused map[string]bool, orderNo string) check.Answer {
	was, answered := refused[orderNo]
	switch {
	case !answered:
		return check.Unanswered
	case was:
		return check.Refusal
	}
	return check.Receipt
}
