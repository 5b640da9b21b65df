// Package exercise takes the units and answers, without the ledger: no reservation is written.
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
	db *gorm.DB
}

var _ inventorylab.Reserver = (*Mine)(nil)

// New makes Mine. Each replica of inventory-srv calls it once.
func New(d inventorylab.Deps) inventorylab.Reserver {
	return &Mine{RowStock: inventorylab.NewRowStock(d.Ledger), db: d.DB}
}

// Reserve takes the units and answers.
func (m *Mine) Reserve(ctx context.Context, r inventorylab.Request) (inventorylab.Receipt, error) {
	r = r.Sorted()
	receipt := inventorylab.Receipt{OrderNo: r.OrderNo, Strategy: r.Strategy}
	err := m.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return deduct(tx, r.Lines) })
	return receipt, err
}

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
