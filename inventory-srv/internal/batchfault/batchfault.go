// Package batchfault translates the errors of pkg/batch, which knows no business, into the service's faults.
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

// Of returns the fault for an error of a batcher, or nil for another error. A call whose deadline passed before it was
// executed met contention; the outcome of a call that was cancelled later is unknown.
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
