package flawed

import (
	"context"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// otherConnection sends a query to the pool that belongs to the transaction.
//
// Fault:    the global database handle is used between BEGIN and COMMIT.
// Seen:     in the course's first steps (it reads with global.DB and writes with tx), and with FOR UPDATE in a shop
// built on them.
// Goes:     the row is locked by a transaction that ends with its statement, and so does the lock. Besides, each caller
// holds one connection while it waits for a second one: as many callers as the pool has connections block each other.
// Fixed by: for-update, which sends every statement to the transaction.
type otherConnection struct{ deps Deps }

func newOtherConnection(d Deps) Reserver { return &otherConnection{d} }

// Reserve implements Reserver.
func (f *otherConnection) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.deps.Ledger.Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		for _, l := range lines {
			r, err := readRow(f.deps.DB.WithContext(ctx), l.SKU, " FOR UPDATE") // the fault: not tx
			if err != nil {
				return err
			}
			if err := r.take(l.Quantity); err != nil {
				return err
			}
			if err := r.save(tx); err != nil {
				return err
			}
		}
		return nil
	})
}
