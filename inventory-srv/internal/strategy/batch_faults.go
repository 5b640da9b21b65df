package strategy

import (
	"context"
	"errors"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/batch"
	"holdfast/pkg/fault"
)

// errStopping is a call after Close.
var errStopping = fault.New(fault.Unavailable, "stopping", "the service is stopping").NotExecuted()

// explainBatch turns what a batcher says into faults. A caller whose time ran out before its order was executed has met
// contention; one who left after that moment cannot know.
func explainBatch(err error) error {
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
	return err
}
