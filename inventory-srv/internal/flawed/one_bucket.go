package flawed

import (
	"context"
	"fmt"
	"math/rand/v2"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/stock"
)

// oneBucket reads one bucket and refuses if that one is empty.
//
// Fault:    what one of K rows does not have, the others may have.
// Seen:     in articles on "splitting the hot row", which end with the UPDATE of a random bucket.
// Goes:     five units are in five of sixteen buckets; eleven of sixteen buyers get "sold out", and units stay unsold.
// Fixed by: buckets, which locks all buckets, in order, before it refuses.
type oneBucket struct{ deps Deps }

func newOneBucket(d Deps) Reserver { return &oneBucket{d} }

// Reserve implements Reserver.
func (f *oneBucket) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.deps.Ledger.Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		chosen := make([]int64, len(lines))
		for i, l := range lines {
			if _, err := readRow(tx, l.SKU, ""); err != nil { // only for the lab
				return err
			}
			var buckets []int64
			if err := tx.Raw("SELECT bucket FROM stock_buckets WHERE sku = ?", l.SKU).Scan(&buckets).Error; err != nil {
				return fmt.Errorf("look up the buckets of %s: %w", l.SKU, err)
			}
			chosen[i] = buckets[rand.IntN(len(buckets))]
			res := tx.Exec(`UPDATE stock_buckets SET available = available - ?, reserved = reserved + ?, version = version + 1
				WHERE sku = ? AND bucket = ? AND available >= ?`, l.Quantity, l.Quantity, l.SKU, chosen[i], l.Quantity)
			if res.Error != nil {
				return fmt.Errorf("take %s: %w", l.SKU, res.Error)
			}
			if res.RowsAffected == 0 { // the fault: the other buckets may have it
				return stock.OutOfStock([]stock.ShortLine{{SKU: l.SKU, Requested: l.Quantity}})
			}
		}
		return layout.Allocate(tx, r.OrderNo, lines, chosen)
	})
}
