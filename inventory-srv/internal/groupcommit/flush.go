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

// try executes an attempt's calls in its transaction and stages their answers, which are sent after the commit. Before
// the first write it must call seal and continue with the calls that seal returns: the others were withdrawn. It
// returns errNothing when the answers are final and nothing was written.
type try[T, R any] func(a *attempt[T, R]) error

// errNothing ends a transaction that has written nothing.
var errNothing = errors.New("nothing to write")

// How long findOut tries to learn the outcome of a COMMIT whose answer was lost, and its pause when the server does not
// answer.
const (
	unknownTimeout = 5 * time.Second
	unknownPause   = 50 * time.Millisecond
)

// mode says how an attempt treats rows that other sessions have locked, and whether its calls can be withdrawn.
type mode int

const (
	waiting  mode = iota // the attempt waits for them
	skipping             // the attempt sets aside the calls that need them
	settling             // the attempt waits, and its calls may have been executed before
)

// flushing is one flush of an operation.
type flushing[T, R any] struct {
	*operation[T, R]
	batch  *batch.Batch[T, R]
	sealed []*batch.Call[T, R] // of the last attempt: only these can have been executed
}

// answer runs the calls as one transaction. When a row stays locked, the calls that need it are set aside. When the
// data of one call fails the transaction, answer runs each half of the calls, until only that call has the error. Any
// other error is the answer to all calls.
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

// settle retries the transaction. database.InTx retries deadlocks; settle retries where the next attempt reads other
// headers:
//
//   - Another session committed an order between that read and our insert. If it had not committed, the insert would
//     wait.
//   - Another session wrote an order's header between that read and our insert, and has not committed it.
//   - The answer to COMMIT was lost. The ledger has every order that was committed, and the next attempt executes the
//     others: the operations are idempotent.
//   - A lone order was written by what an earlier flush had read, and that has changed.
func (f *flushing[T, R]) settle(ctx context.Context, calls []*batch.Call[T, R], m mode) error {
	for {
		err := f.runOnce(ctx, calls, m)
		switch {
		case err == nil || errors.Is(err, errNothing):
			return nil
		case errors.Is(err, database.ErrCommitUnknown):
			return f.findOut(ctx, f.sealed, err)
		case !database.IsDuplicate(err) && !errors.Is(err, errGuessWrong) && (m == waiting || !database.IsLockWait(err)):
			return err
		case ctx.Err() != nil:
			return stock.ErrContended.Wrap(err)
		}
	}
}

// findOut runs the transaction again until it knows the outcome of the COMMIT, and returns unknown if it does not learn
// it. Meanwhile no call can be withdrawn as not executed, and none is set aside.
func (f *flushing[T, R]) findOut(ctx context.Context, calls []*batch.Call[T, R], unknown error) error {
	// The flush's deadline may have passed, and its callers still need the outcome, so findOut has a deadline of its own.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unknownTimeout)
	defer cancel()
	tick := time.NewTicker(unknownPause)
	defer tick.Stop()
	for {
		err := f.runOnce(ctx, calls, settling)
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

// runOnce runs the transaction. An earlier attempt was rolled back, so callers can withdraw until this attempt seals
// them.
func (f *flushing[T, R]) runOnce(ctx context.Context, calls []*batch.Call[T, R], m mode) error {
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
