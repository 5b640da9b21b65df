package flawed

import (
	"context"

	"holdfast/inventory-srv/internal/stock"
)

// leakedLock unlocks at the end of the function, and returns before the end when the order is refused.
//
// Fault:    the return for "sold out" does not unlock.
// Seen:     in the course's own Sell: the checks for a missing row and for short stock return above the Unlock.
// Goes:     A locks, finds no stock and returns. B to Z wait for a lock without a holder until it expires, and get
// "lock not acquired" although the stock is sold out. Then the next order leaks the lock again.
// Fixed by: redis-lock, which defers the unlock directly after the lock was taken, so that it runs on every return.
type leakedLock struct{ deps Deps }

func newLeakedLock(d Deps) Reserver { return &leakedLock{d} }

// Reserve implements Reserver, for orders of one line.
func (f *leakedLock) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	l := f.deps.handLock(r.Lines[0].SKU)
	if err := l.Lock(ctx); err != nil {
		return stock.Receipt{}, stock.ErrContended.Wrap(err)
	}
	receipt, err := f.deps.Ledger.Reserve(ctx, r, readTakeSave)
	if err != nil {
		return stock.Receipt{}, err // the fault: no unlock
	}
	_, err = l.Unlock(ctx)
	return receipt, err
}
