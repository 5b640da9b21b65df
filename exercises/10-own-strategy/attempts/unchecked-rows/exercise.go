// Package exercise subtracts on a condition and does not ask whether the statement changed a row.
package exercise

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/inventorylab"
)

// Strategy tells inventory-srv what mine is.
func Strategy() inventorylab.Strategy {
	return inventorylab.Strategy{
		Name: "mine", Layout: inventorylab.LayoutRow, Idea: "one conditional UPDATE a line", Safe: true, New: New,
	}
}

// Mine is the strategy. Confirm and Release are those of all strategies that keep a SKU's counters on one row.
type Mine struct {
	inventorylab.RowStock
	ledger *inventorylab.Ledger
}

var _ inventorylab.Reserver = (*Mine)(nil)

// New makes Mine. Each replica of inventory-srv calls it once.
func New(d inventorylab.Deps) inventorylab.Reserver {
	return &Mine{RowStock: inventorylab.NewRowStock(d.Ledger), ledger: d.Ledger}
}

// Reserve takes all lines of an order or none. The ledger begins a transaction, inserts the reservation, calls deduct
// and commits. It answers an order number that it has already without calling deduct.
func (m *Mine) Reserve(ctx context.Context, r inventorylab.Request) (inventorylab.Receipt, error) {
	return m.ledger.Reserve(ctx, r, deduct)
}

func deduct(tx *gorm.DB, lines []inventorylab.Line) error {
	for _, l := range lines {
		err := tx.Exec(`UPDATE stock SET available = available - ?, reserved = reserved + ?
			WHERE sku = ? AND layout = 'row' AND available >= ?`, l.Quantity, l.Quantity, l.SKU, l.Quantity).Error
		if err != nil {
			return fmt.Errorf("take %d of %s: %w", l.Quantity, l.SKU, err)
		}
	}
	return nil
}
