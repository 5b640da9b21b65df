package strategy

import (
	"context"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// ForUpdate locks the order's stock rows until commit, so that a second order waits at its first read.
//
// Idea:        let the database queue the contenders.
// Statements:  SELECT sku, available … FOR UPDATE, in SKU order; UPDATE … SET available = ?.
// Goes wrong:  unsorted rows deadlock; a lock taken outside the transaction ends at once; without an index every row is
// locked.
// Cost:        three round trips while the row is held (update, lines, commit), so one hot SKU sells one order at a time.
// Choose it:   contention is low, or the decision needs more than a comparison.
type ForUpdate struct {
	rowStock // Confirm and Release, common to the row layout
}

var _ stock.Reserver = (*ForUpdate)(nil)

func newForUpdate(d Deps) stock.Reserver {
	return &ForUpdate{rowStock{d.Ledger}}
}

// Reserve implements stock.Reserver.
func (s *ForUpdate) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return s.ledger.Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		rows, err := readRows(tx, lines, forUpdate)
		if err != nil {
			return err
		}
		if err := rows.take(lines); err != nil {
			return err
		}
		return rows.save(tx)
	})
}
