// Package batchfault says in the service's faults what pkg/batch, which knows no business, says in errors of its own.
package batchfault

import (
	"context"
	"errors"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/batch"
	"holdfast/pkg/fault"
)

// errStopping is a call after the batcher was closed.
var errStopping = fault.New(fault.Unavailable, "stopping", "the service is stopping").NotExecuted()

// Of returns the fault that a batcher's own word stands for, or nil when err is somebody else's. A caller whose time ran
// out before its order was executed has met contention; one who left after that moment cannot know.
func Of(err error) error {
	switch {
	case errors.Is(err, batch.ErrClosed):
		return errStopping.Wrap(err)
	case errors.Is(err, batch.ErrWithdrawn) && errors.Is(err, context.DeadlineExceeded):
		return stock.ErrContended.Wrap(err)
	case errors.Is(err, batch.ErrWithdrawn):
		return fault.ErrCanceled.NotExecuted().Wrap(err)
	case errors.Is(err, batch.ErrUnanswered):
		return fault.ErrTimeout.Wrap(err)
	}
	return nil
}
