package strategy_test

import (
	"context"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/lock"
)

// mutant is a strategy with a lease whose guards can be taken out one by one, to see the tests of the real one turn
// red. With both guards it is right.
type mutant struct {
	ledger *store.Ledger
	locker strategy.Acquirer

	claims    bool // claim the fence before the read
	leaseEnds bool // run the transaction on the lease's context
}

func (m *mutant) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	for {
		receipt, err := m.reserve(ctx, r)
		if err == nil || ctx.Err() != nil {
			return receipt, err
		}
	}
}

func (m *mutant) reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	key := "stock:" + r.Lines[0].SKU
	lease, err := m.locker.Acquire(ctx, key)
	if err != nil {
		return stock.Receipt{}, err
	}
	defer func() { _ = lease.Release(ctx) }()
	work := ctx
	if m.leaseEnds {
		work = lease.Context()
	}
	return m.ledger.Reserve(work, r, func(tx *gorm.DB, lines []stock.Line) error {
		sku, token := lines[0].SKU, lease.Token(key)
		if m.claims {
			res := tx.Exec("UPDATE stock SET fence = ?, version = version + 1 WHERE sku = ? AND fence < ?", token, sku, token)
			if res.Error != nil {
				return res.Error
			}
			if res.RowsAffected == 0 {
				return lock.ErrStale
			}
		}
		return readAndOverwrite(tx, lines[0])
	})
}

// readAndOverwrite reads the row and writes the result as an absolute value: right only while no other order does the
// same.
func readAndOverwrite(tx *gorm.DB, l stock.Line) error {
	var row struct{ Available, Reserved int64 }
	if err := tx.Raw("SELECT available, reserved FROM stock WHERE sku = ?", l.SKU).Scan(&row).Error; err != nil {
		return err
	}
	return tx.Exec("UPDATE stock SET available = ?, reserved = ?, version = version + 1 WHERE sku = ?",
		row.Available-l.Quantity, row.Reserved+l.Quantity, l.SKU).Error
}
