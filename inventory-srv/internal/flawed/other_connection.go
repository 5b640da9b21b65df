package flawed

import (
	"context"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// otherConnection asks the pool where it should ask the transaction.
//
// Fault:    the global database handle is used between BEGIN and COMMIT.
// Seen:     in the course's first steps (the read goes by way of global.DB, the write by way of tx), and with FOR UPDATE in a
// shop made from them.
// Goes:     the row is locked in a transaction of its own, which ends with the statement, and so does the lock. And each caller
// holds one connection while it waits for a second: as many callers as the pool has connections stop each other for ever.
// Fixed by: for-update, where every statement is the transaction's.
type otherConnection struct{ deps Deps }

func newOtherConnection(d Deps) Reserver { return &otherConnection{d} }

// Reserve implements Reserver.
func (f *otherConnection) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.deps.Ledger.Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		for _, l := range lines {
			r, err := readRow(f.deps.DB.WithContext(ctx), l.SKU, " FOR UPDATE") // here
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
