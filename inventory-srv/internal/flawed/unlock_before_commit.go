package flawed

import (
	"context"
	"errors"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/strategy"
)

// unlockBeforeCommit locks, reads, writes and unlocks inside its transaction.
//
// Fault:    the lock ends before other transactions can read the write.
// Seen:     in the course's own Sell, which unlocks in the loop over an order's goods and commits after it, and in most
// of the shops built on it.
// Goes:     A locks, reads 10, writes 9 and unlocks. B locks and reads 10, as A's 9 is not committed, and waits to
// write. A commits. B writes 9. Two units are sold, and the stock went down by one.
// Fixed by: redis-lock, which unlocks after the ledger has committed.
type unlockBeforeCommit struct{ deps Deps }

func newUnlockBeforeCommit(d Deps) Reserver { return &unlockBeforeCommit{d} }

// Reserve implements Reserver.
func (f *unlockBeforeCommit) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.deps.Ledger.Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) (err error) {
		lease, err := f.deps.Locker.Acquire(ctx, keys(lines)...)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, lease.Release(ctx)) }() // the fault: the ledger commits later
		return readTakeSave(tx, lines)
	})
}

// keys are the locks of an order's lines, the same as the strategies'.
func keys(lines []stock.Line) []string {
	names := make([]string, len(lines))
	for i, l := range lines {
		names[i] = strategy.LockKey(l.SKU)
	}
	return names
}
