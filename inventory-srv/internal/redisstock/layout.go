package redisstock

import (
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/stock"
)

// Layout is MySQL's side of the layout redis: a row of stock_redis, which follows the SKU's counters in Redis. Collect
// has nothing to do, as the units return through the stream before the layout changes.
type Layout struct{ layout.Row }

var _ layout.Drainer = Layout{}

// Name implements layout.Layout.
func (Layout) Name() string { return stock.LayoutRedis }

// Distribute implements layout.Layout. An order that finds too little in Redis allocates the units.
func (Layout) Distribute(tx *gorm.DB, sku string, free layout.Unallocated, _ layout.Shape) (layout.Unallocated, error) {
	if err := tx.Exec("INSERT INTO stock_redis (sku) VALUES (?) ON DUPLICATE KEY UPDATE sku = sku", sku).Error; err != nil {
		return free, fmt.Errorf("insert the row of Redis: %w", err)
	}
	return free, nil
}

// Totals implements layout.Layout.
func (Layout) Totals() string { return "SELECT sku, available, reserved, sold FROM stock_redis" }

// Free implements layout.Layout.
func (Layout) Free() string {
	return "COALESCE((SELECT r.available FROM stock_redis r WHERE r.sku = s.sku), 0)"
}

// Close implements layout.Drainer. It increments the SKU's opening, so that a replica with an older one cannot open the
// SKU in Redis.
func (Layout) Close(tx *gorm.DB, sku string) error {
	if err := tx.Exec("UPDATE stock_redis SET opening = opening + 1 WHERE sku = ?", sku).Error; err != nil {
		return fmt.Errorf("close %s: %w", sku, err)
	}
	return nil
}

// Drained implements layout.Drainer.
func (Layout) Drained(tx *gorm.DB, sku string) (bool, error) {
	var left []int64
	if err := tx.Raw("SELECT available FROM stock_redis WHERE sku = ? FOR UPDATE", sku).Scan(&left).Error; err != nil {
		return false, fmt.Errorf("lock the row of Redis: %w", err)
	}
	return len(left) == 1 && left[0] == 0, nil
}
