package flawed

import (
	"context"

	"holdfast/inventory-srv/internal/stock"
)

// releaseByAnyone gives its lock back without looking whose it is.
//
// Fault:    DEL asks for no owner.
// Seen:     in hand-made locks whose value is a constant, and in those that compare with GET and then DEL: between the two the key
// can change hands.
// Goes:     A's lock expires while A ends its work; B locks and reads; A deletes B's lock; C locks, reads what B has read, sells,
// and unlocks; B writes its number over C's.
// Fixed by: redis-lock: every lease has a value of its own, and one script compares and deletes.
type releaseByAnyone struct{ deps Deps }

func newReleaseByAnyone(d Deps) Reserver { return &releaseByAnyone{d} }

// Reserve implements Reserver. It knows orders of one line.
func (f *releaseByAnyone) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	l, sku := f.deps.handLock(), r.Lines[0].SKU
	if err := l.lock(ctx, sku); err != nil {
		return stock.Receipt{}, stock.ErrContended.Wrap(err)
	}
	defer func() { _ = l.unlock(ctx, sku) }() // after the commit, and on every way out; only not of our own key
	return f.deps.Ledger.Reserve(ctx, r, readTakeSave)
}
