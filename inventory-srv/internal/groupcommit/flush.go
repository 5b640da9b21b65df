package groupcommit

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

// try does the work of an attempt's calls in its transaction and stages their answers, which count if it is committed.
// Before the first write it must call seal and go on with the calls that seal returns: the others have left.
// errNothing: the answers stand, and there is nothing to commit.
type try[T, R any] func(a *attempt[T, R]) error

// errNothing ends a transaction that has written nothing.
var errNothing = errors.New("nothing to write")

// The search for the outcome of a COMMIT whose answer was lost: for how long, and how often when the server cannot be
// asked.
const (
	unknownTimeout = 5 * time.Second
	unknownPause   = 50 * time.Millisecond
)

// mode is how an attempt treats rows that other sessions have locked, and whether its calls may leave.
type mode int

const (
	waiting  mode = iota // it waits for them
	skipping             // it sets aside the calls that need them
	settling             // it waits, and its calls may have been executed before
)

// flushing is one flush of an operation.
type flushing[T, R any] struct {
	*operation[T, R]
	batch  *batch.Batch[T, R]
	sealed []*batch.Call[T, R] // of the last attempt: no others can have been executed
}

// answer runs the calls as one transaction. When a row stays locked, the calls that need it are set aside. When the
// data of one of them fails the transaction, it runs them by halves: the fault is then that one's alone. Any other
// fault is not in one of the halves, so it is everybody's answer.
func (f *flushing[T, R]) answer(ctx context.Context, calls []*batch.Call[T, R], m mode) {
	err := f.settle(ctx, calls, m)
	half := len(calls) / 2
	switch {
	case err == nil:
		return
	case m == waiting && database.IsLockWait(err):
		f.answer(ctx, calls, skipping)
		return
	case half > 0 && store.IsData(err):
		f.answer(ctx, calls[:half], m)
		f.answer(ctx, calls[half:], m)
		return
	case errors.Is(err, database.ErrCommitUnknown):
		calls = f.sealed
	}
	for _, c := range calls {
		var none R
		c.Answer(none, err)
	}
}

// settle repeats the transaction for as long as that helps. database.InTx does so for deadlocks; what is left are cases
// in which a repetition starts from other knowledge, as it reads the headers anew:
//
// An order became known between that read and our insert. It has committed, or the insert would still wait for it.
//
// Another session wrote an order's header between that read and our insert, and has not committed it.
//
// The answer to COMMIT was lost. Then the ledger tells for each order whether it was committed, or the next attempt does
// it: the operations are idempotent.
func (f *flushing[T, R]) settle(ctx context.Context, calls []*batch.Call[T, R], m mode) error {
	for {
		err := f.once(ctx, calls, m)
		switch {
		case err == nil || errors.Is(err, errNothing):
			return nil
		case errors.Is(err, database.ErrCommitUnknown):
			return f.findOut(ctx, f.sealed, err)
		case !database.IsDuplicate(err) && (m == waiting || !database.IsLockWait(err)):
			return err
		case ctx.Err() != nil:
			return stock.ErrContended.Wrap(err)
		}
	}
}

// findOut runs the transaction again until it learns what became of its COMMIT, and returns unknown if it cannot. The
// calls cannot leave meanwhile as if nothing had been executed, and none of them is set aside.
func (f *flushing[T, R]) findOut(ctx context.Context, calls []*batch.Call[T, R], unknown error) error {
	// The flush's time may be up, yet the answer matters as much as before: it has a time of its own.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unknownTimeout)
	defer cancel()
	tick := time.NewTicker(unknownPause)
	defer tick.Stop()
	for {
		err := f.once(ctx, calls, settling)
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
func (f *flushing[T, R]) once(ctx context.Context, calls []*batch.Call[T, R], m mode) error {
	var written map[string]bool
	if m == skipping {
		var err error
		if written, err = f.ledger.Written(ctx, f.orderNos(calls)); err != nil {
			return err
		}
	}
	return f.ledger.InBulk(ctx, func(tx *gorm.DB, b store.Bulk) error {
		a := &attempt[T, R]{flushing: f, tx: tx, bulk: b, mode: m, written: written}
		if m == settling {
			a.calls = f.batch.Seal(calls)
		} else {
			a.calls = f.batch.Open(calls)
		}
		return f.try(a)
	}, database.ReturnLockWait())
}
