package flawed

import (
	"context"

	"holdfast/inventory-srv/internal/stock"
)

// releaseByAnyone unlocks without comparing the owner.
//
// Fault:    DEL deletes the key of any owner.
// Seen:     in hand-written locks whose value is a constant, and in those that compare with GET and then DEL: between
// the two commands the key may get another owner.
// Goes:     A's lock expires while A still works. B locks and reads. A deletes B's lock. C locks, reads what B has
// read, sells and unlocks. B overwrites C's number.
// Fixed by: redis-lock: every lease has a value of its own, and one script compares and deletes.
type releaseByAnyone struct{ deps Deps }

func newReleaseByAnyone(d Deps) Reserver { return &releaseByAnyone{d} }

// Reserve implements Reserver, for orders of one line.
func (f *releaseByAnyone) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	l := f.deps.handLock(r.Lines[0].SKU)
	if err := l.Lock(ctx); err != nil {
		return stock.Receipt{}, stock.ErrContended.Wrap(err)
	}
	defer func() { _, _ = l.Unlock(ctx) }() // the fault: the key may be another holder's
	return f.deps.Ledger.Reserve(ctx, r, readTakeSave)
}
