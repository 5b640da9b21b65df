package flawed

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// skipAndRefuse takes what SKIP LOCKED leaves out for sold.
//
// Fault:    a row that is skipped is locked, and nothing more is known of it.
// Seen:     wherever SKIP LOCKED is copied from a job queue, in which coming back later is the answer, to a shop, in which "sold out"
// is final.
// Goes:     A has locked the last unit and is not sure yet; B skips it, finds none, and hears "sold out"; A rolls back. The unit is
// there, and its buyer has gone.
// Fixed by: skip-locked, which on a shortage looks again under the gate, without SKIP LOCKED, and waits for A.
type skipAndRefuse struct{ deps Deps }

func newSkipAndRefuse(d Deps) Reserver { return &skipAndRefuse{d} }

// Reserve implements Reserver.
func (f *skipAndRefuse) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.deps.Ledger.Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		for _, l := range lines {
			if _, err := readRow(tx, l.SKU, ""); err != nil { // is it for the lab?
				return err
			}
			var units []int64
			err := tx.Raw("SELECT unit FROM stock_units FORCE INDEX (stock_units_order) WHERE sku = ? AND order_no IS NULL LIMIT ? FOR UPDATE SKIP LOCKED",
				l.SKU, l.Quantity).Scan(&units).Error
			if err != nil {
				return fmt.Errorf("lock units of %s: %w", l.SKU, err)
			}
			if int64(len(units)) < l.Quantity { // or locked?
				return stock.OutOfStock([]stock.ShortLine{{SKU: l.SKU, Requested: l.Quantity, Available: int64(len(units))}})
			}
			if err := tx.Exec("UPDATE stock_units SET order_no = ? WHERE sku = ? AND unit IN ?", r.OrderNo, l.SKU, units).Error; err != nil {
				return fmt.Errorf("take %s: %w", l.SKU, err)
			}
		}
		return nil
	})
}
