package batch

import "context"

// Result is the answer to one item of [Batcher.DoAll] or [Batcher.Run].
type Result[R any] struct {
	Value R
	Err   error
}

// Run flushes items as one batch in the caller's goroutine: the same flush as that of Do, without a queue. It waits for
// no other flush, so the flush function must allow two at the same time. The caller keeps the maximum weight and does
// not withdraw. A panic of the flush is the caller's.
func (b *Batcher[T, R]) Run(ctx context.Context, items []T) []Result[R] {
	ctx, cancel := context.WithTimeout(ctx, b.s.timeout)
	defer cancel()
	batch := &Batch[T, R]{owner: b, cancel: cancel, waiting: len(items), calls: make([]*Call[T, R], len(items))}
	calls := make([]Call[T, R], len(items))
	for i, item := range items {
		calls[i] = Call[T, R]{Item: item, state: sealed, batch: batch}
		calls[i].staged.err = ErrNoAnswer
		batch.calls[i] = &calls[i]
	}
	b.flush(ctx, batch)
	results := make([]Result[R], len(items))
	for i := range calls {
		results[i] = Result[R]{calls[i].staged.result, calls[i].staged.err}
	}
	return results
}
