package flawed

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// uncheckedRows has the right condition and does not check its result.
//
// Fault:    an UPDATE that matches no row returns no error; it returns zero affected rows.
// Seen:     in the second part of the course, and in every code base that checks err only.
// Goes:     nothing is left. A's UPDATE changes no row and returns no error. A gets a receipt. When A is released
// later, a unit that was never taken is added to the stock, unless a condition there prevents it.
// Fixed by: conditional, which checks RowsAffected.
type uncheckedRows struct{ deps Deps }

func newUncheckedRows(d Deps) Reserver { return &uncheckedRows{d} }

// Reserve implements Reserver.
func (f *uncheckedRows) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.deps.Ledger.Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		for _, l := range lines {
			if _, err := readRow(tx, l.SKU, ""); err != nil { // only for the lab
				return err
			}
			err := tx.Exec("UPDATE stock SET available = available - ?, reserved = reserved + ?, version = version + 1 WHERE sku = ? AND available >= ?",
				l.Quantity, l.Quantity, l.SKU, l.Quantity).Error
			if err != nil { // the fault: RowsAffected is not checked
				return fmt.Errorf("take %s: %w", l.SKU, err)
			}
		}
		return nil
	})
}
