package flawed

import (
	"context"

	"holdfast/inventory-srv/internal/stock"
)

// saveAfterExpiry works under a lease and never checks that it still holds it.
//
// Fault:    the transaction does not end with the lease, and writes a number that was read before the lease ended.
// Seen:     wherever a lock with an expiry of some seconds is taken, and neither its end nor a fencing token is
// checked: in every shop of the course's family.
// Goes:     A locks, reads 10 and pauses for longer than the lease. B locks, reads 10, writes 9 and commits. A
// continues and writes 9.
// Fixed by: redis-lock: the lease's context ends the transaction, and the claimed fence refuses it where no context
// can.
type saveAfterExpiry struct{ deps Deps }

func newSaveAfterExpiry(d Deps) Reserver { return &saveAfterExpiry{d} }

// Reserve implements Reserver.
func (f *saveAfterExpiry) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	lease, err := f.deps.Locker.Acquire(ctx, keys(r.Lines)...)
	if err != nil {
		return stock.Receipt{}, err
	}
	defer func() { _ = lease.Release(ctx) }() // the fault: the lease may have ended before the commit
	return f.deps.Ledger.Reserve(ctx, r, readTakeSave)
}
