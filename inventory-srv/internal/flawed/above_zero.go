package flawed

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// aboveZero checks that there is at least one unit, and takes several.
//
// Fault:    the condition does not contain the quantity.
// Seen:     in flash-sale samples in which each order has one unit, to which a quantity was added later. One sample
// wrote "available - ? > 0" instead, which never sells the last unit.
// Goes:     one unit is left and A orders ten: 1 > 0 is true, and the stock is -9. With a CHECK constraint on the
// column the database refuses the statement, and the buyer gets an error instead of "sold out".
// Fixed by: conditional, whose condition is "available >= ?".
type aboveZero struct{ deps Deps }

func newAboveZero(d Deps) Reserver { return &aboveZero{d} }

// Reserve implements Reserver.
func (f *aboveZero) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.deps.Ledger.Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		for _, l := range lines {
			if _, err := readRow(tx, l.SKU, ""); err != nil { // only for the lab
				return err
			}
			res := tx.Exec("UPDATE stock SET available = available - ?, reserved = reserved + ?, version = version + 1 WHERE sku = ? AND available > 0",
				l.Quantity, l.Quantity, l.SKU)
			if res.Error != nil {
				return fmt.Errorf("take %s: %w", l.SKU, res.Error)
			}
			if res.RowsAffected == 0 {
				return stock.OutOfStock([]stock.ShortLine{{SKU: l.SKU, Requested: l.Quantity}})
			}
		}
		return nil
	})
}
