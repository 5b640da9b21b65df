package strategy

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/batch"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
)

// try does the work of calls in the transaction tx and stages their answers, which count if it is committed. Before it
// does what lasts it must call seal and go on with the calls that seal returns: the others have left.
// errNothing: the answers stand, and there is nothing to commit.
type try[T, R any] func(tx *gorm.DB, b store.Bulk, calls []*batch.Call[T, R], seal func() []*batch.Call[T, R]) error

// errNothing ends a transaction that has written nothing.
var errNothing = errors.New("nothing to write")

// The search for the outcome of a COMMIT whose answer was lost: for how long, and how often when the server cannot be
// asked.
const (
	unknownTimeout = 5 * time.Second
	unknownPause   = 50 * time.Millisecond
)

// flush makes the function that a batcher calls: it repeats one until the calls have their answers.
func flush[T, R any](ledger *store.Ledger, one try[T, R]) func(context.Context, *batch.Batch[T, R]) {
	return func(ctx context.Context, b *batch.Batch[T, R]) {
		f := &flushing[T, R]{ledger: ledger, batch: b, try: one}
		f.answer(ctx, b.Calls())
	}
}

type flushing[T, R any] struct {
	ledger *store.Ledger
	batch  *batch.Batch[T, R]
	try    try[T, R]
}

// answer runs the calls as one transaction, and by halves when the data of one of them fails it: the fault is then that
// one's alone.
func (f *flushing[T, R]) answer(ctx context.Context, calls []*batch.Call[T, R]) {
	err := f.settle(ctx, calls)
	if err == nil {
		return
	}
	if half := len(calls) / 2; half > 0 && fault.KindOf(err) == fault.Internal {
		f.answer(ctx, calls[:half])
		f.answer(ctx, calls[half:])
		return
	}
	for _, c := range calls {
		var none R
		c.Answer(none, err)
	}
}

// settle repeats the transaction for as long as that helps. database.InTx does so for lost races; what is left are two
// cases in which a repetition starts from other knowledge, as it reads the known headers anew:
//
// An order became known between that read and our insert. It has committed, or the insert would still wait for it.
//
// The answer to COMMIT was lost. Then the ledger tells for each order whether it was committed, or the next attempt does
// it: the operations are idempotent.
func (f *flushing[T, R]) settle(ctx context.Context, calls []*batch.Call[T, R]) error {
	for {
		err := f.once(ctx, calls, false)
		switch {
		case err == nil || errors.Is(err, errNothing):
			return nil
		case errors.Is(err, database.ErrCommitUnknown):
			return f.findOut(ctx, calls, err)
		case !database.IsDuplicate(err):
			return err
		case ctx.Err() != nil:
			return stock.ErrContended.Wrap(err)
		}
	}
}

// findOut runs the transaction again until it learns what became of its COMMIT, and returns unknown if it cannot. Nobody
// may leave meanwhile believing that nothing was executed.
func (f *flushing[T, R]) findOut(ctx context.Context, calls []*batch.Call[T, R], unknown error) error {
	// The flush's time may be up, yet the answer matters as much as before: it has a time of its own.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unknownTimeout)
	defer cancel()
	tick := time.NewTicker(unknownPause)
	defer tick.Stop()
	for {
		err := f.once(ctx, calls, true)
		if err == nil || errors.Is(err, errNothing) {
			return nil
		}
		if fault.KindOf(err) == fault.Internal && !database.IsDuplicate(err) {
			return unknown
		}
		select {
		case <-ctx.Done():
			return unknown
		case <-tick.C:
		}
	}
}

// once runs the transaction. Whatever it did before was undone when it runs again, so callers may leave until the next
// attempt does something that lasts.
func (f *flushing[T, R]) once(ctx context.Context, calls []*batch.Call[T, R], maybeExecuted bool) error {
	return f.ledger.InBulk(ctx, func(tx *gorm.DB, b store.Bulk) error {
		seal := func() []*batch.Call[T, R] { return f.batch.Seal(calls) }
		if maybeExecuted {
			return f.try(tx, b, seal(), seal)
		}
		return f.try(tx, b, f.batch.Open(calls), seal)
	})
}
