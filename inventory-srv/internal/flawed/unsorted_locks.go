package flawed

import (
	"context"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/strategy"
)

// unsortedLocks takes the locks one after the other, in the order of the cart.
//
// Fault:    there is no common order of the locks.
// Seen:     in shops that had repaired the unlock before commit: they hold every lock to the end, in cart order. Rows
// that are locked FOR UPDATE in a loop have the same fault, but the database detects the deadlock.
// Goes:     A has locked the mug and wants the shirt; B has locked the shirt and wants the mug. Both wait until they
// give up, and all other orders for a mug or a shirt wait with them. Redis detects no deadlock.
// Fixed by: redis-lock, which takes all locks of an order at once; or by sorting them.
type unsortedLocks struct{ deps Deps }

func newUnsortedLocks(d Deps) Reserver { return &unsortedLocks{d} }

// Reserve implements Reserver.
func (f *unsortedLocks) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	for _, l := range r.Lines {
		lease, err := f.deps.Locker.Acquire(ctx, strategy.LockKey(l.SKU))
		if err != nil {
			return stock.Receipt{}, stock.ErrContended.Wrap(err)
		}
		defer func() { _ = lease.Release(ctx) }()
	}
	return f.deps.Ledger.Reserve(ctx, r, readTakeSave)
}
