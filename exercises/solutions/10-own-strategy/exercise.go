// Package exercise solves exercise 10: one conditional UPDATE a line, in the transaction of the reservation.
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
		Name: "mine", Layout: inventorylab.LayoutRow, Idea: "one conditional UPDATE a line; a refusal is decided under the row locks", Safe: true, New: New,
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

// deduct takes the units of each line with one statement, which also asks whether there are enough. The lines come in
// SKU order, so two orders with the same SKUs lock their rows in the same order.
func deduct(tx *gorm.DB, lines []inventorylab.Line) error {
	for i, l := range lines {
		res := tx.Exec(`UPDATE stock SET available = available - ?, reserved = reserved + ?
			WHERE sku = ? AND layout = 'row' AND available >= ?`, l.Quantity, l.Quantity, l.SKU, l.Quantity)
		if res.Error != nil {
			return fmt.Errorf("take %d of %s: %w", l.Quantity, l.SKU, res.Error)
		}
		if res.RowsAffected == 0 {
			return decide(tx, lines[i:])
		}
	}
	return nil
}

// decide reads the lines' rows under their locks. The UPDATE that changed no row has not locked it, so a release may
// have come since: then there is enough, and the units are taken. Otherwise the refusal names all the lines that are
// short, with numbers that are true at this moment.
func decide(tx *gorm.DB, lines []inventorylab.Line) error {
	rows, err := inventorylab.LockRows(tx, lines)
	if err != nil {
		return err
	}
	if err := rows.Take(lines); err != nil {
		return err
	}
	return rows.Save(tx)
}
