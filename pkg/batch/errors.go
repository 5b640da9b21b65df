package batch

import (
	"context"
	"errors"
	"fmt"
)

// What can happen to a call beside the answer of its flush. They are plain errors: this package knows nothing of the
// business that imports it.
var (
	// ErrWithdrawn means that the caller's context ended before its call was executed: certainly not executed. It wraps
	// the context's cause.
	ErrWithdrawn = errors.New("batch: withdrawn before it was executed")
	// ErrUnanswered means that the caller's context ended and the flush had not answered: it may have been executed or
	// may still be. It wraps the context's cause.
	ErrUnanswered = errors.New("batch: gave up before the answer came")
	// ErrNoAnswer means that the flush returned without an answer for this call: a bug in the flush. Whether the call was
	// executed is not known.
	ErrNoAnswer = errors.New("batch: the flush gave no answer")
	// ErrClosed means that the Batcher was closed before the call: certainly not executed.
	ErrClosed = errors.New("batch: closed")
)

// PanicError is what all callers of a flush get that panicked or ended its goroutine. Whether their calls were executed
// is not known.
type PanicError struct {
	Value any    // nil when the flush called runtime.Goexit
	Stack []byte // where it panicked
}

// Error implements error, without the stack.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return "batch: the flush ended its goroutine"
	}
	return fmt.Sprintf("batch: the flush panicked: %v", e.Value)
}

func gaveUp(ctx context.Context, how error) error {
	return fmt.Errorf("%w: %w", how, context.Cause(ctx))
}
