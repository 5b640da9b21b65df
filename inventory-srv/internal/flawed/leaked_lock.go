package flawed

import (
	"context"

	"holdfast/inventory-srv/internal/stock"
)

// leakedLock unlocks at the end, and there are ways out before the end.
//
// Fault:    the return for "sold out" leaves the lock behind.
// Seen:     in the course's own Sell: the checks for a missing row and for short stock return above the Unlock.
// Goes:     A locks, finds nothing left, returns; B to Z wait for a lock that nobody holds, until it expires, and are told that the
// lock could not be had, although the answer is that the shop is sold out. Then the next one leaks it again.
// Fixed by: redis-lock: defer, right after the lock was taken, is the only place that no return can pass by.
type leakedLock struct{ deps Deps }

func newLeakedLock(d Deps) Reserver { return &leakedLock{d} }

// Reserve implements Reserver. It knows orders of one line.
func (f *leakedLock) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	l, sku := f.deps.handLock(), r.Lines[0].SKU
	if err := l.lock(ctx, sku); err != nil {
		return stock.Receipt{}, stock.ErrContended.Wrap(err)
	}
	receipt, err := f.deps.Ledger.Reserve(ctx, r, readTakeSave)
	if err != nil {
		return stock.Receipt{}, err // here
	}
	return receipt, l.unlock(ctx, sku)
}
