package flawed

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// skipAndRefuse treats units that SKIP LOCKED skips as sold.
//
// Fault:    a skipped row is locked. Whether it will be sold is unknown.
// Seen:     wherever SKIP LOCKED was copied from a job queue, where a later poll finds the row, to a shop, where "sold
// out" is final.
// Goes:     A has locked the last unit and has not committed. B skips it, finds no unit and gets "sold out". A rolls
// back. The unit is free, and its buyer has gone.
// Fixed by: skip-locked, which on a shortage reads again without SKIP LOCKED, under the stock row lock, and waits for
// A.
type skipAndRefuse struct{ deps Deps }

func newSkipAndRefuse(d Deps) Reserver { return &skipAndRefuse{d} }

// Reserve implements Reserver.
func (f *skipAndRefuse) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.deps.Ledger.Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		for _, l := range lines {
			if _, err := readRow(tx, l.SKU, ""); err != nil { // only for the lab
				return err
			}
			var units []int64
			err := tx.Raw("SELECT unit FROM stock_units FORCE INDEX (stock_units_order) WHERE sku = ? AND order_no IS NULL LIMIT ? FOR UPDATE SKIP LOCKED",
				l.SKU, l.Quantity).Scan(&units).Error
			if err != nil {
				return fmt.Errorf("lock units of %s: %w", l.SKU, err)
			}
			if int64(len(units)) < l.Quantity { // the fault: some may only be locked
				return stock.OutOfStock([]stock.ShortLine{{SKU: l.SKU, Requested: l.Quantity, Available: int64(len(units))}})
			}
			if err := tx.Exec("UPDATE stock_units SET order_no = ? WHERE sku = ? AND unit IN ?", r.OrderNo, l.SKU, units).Error; err != nil {
				return fmt.Errorf("take %s: %w", l.SKU, err)
			}
		}
		return nil
	})
}
