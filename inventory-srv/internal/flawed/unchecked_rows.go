package flawed

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// uncheckedRows has the right condition and does not ask what came of it.
//
// Fault:    an UPDATE that matches nothing is no error; it is zero affected rows.
// Seen:     in the second part of the course, and in every code base that checks err and stops there.
// Goes:     nothing is left; A's UPDATE changes no row and reports no error; A gets a receipt. When A is released later, a unit
// comes back that was never taken, unless a guard there notices.
// Fixed by: conditional, which reads RowsAffected.
type uncheckedRows struct{ deps Deps }

func newUncheckedRows(d Deps) Reserver { return &uncheckedRows{d} }

// Reserve implements Reserver.
func (f *uncheckedRows) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.deps.Ledger.Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		for _, l := range lines {
			if _, err := readRow(tx, l.SKU, ""); err != nil { // is it for the lab?
				return err
			}
			err := tx.Exec("UPDATE stock SET available = available - ?, reserved = reserved + ?, version = version + 1 WHERE sku = ? AND available >= ?",
				l.Quantity, l.Quantity, l.SKU, l.Quantity).Error
			if err != nil { // and RowsAffected?
				return fmt.Errorf("take %s: %w", l.SKU, err)
			}
		}
		return nil
	})
}
