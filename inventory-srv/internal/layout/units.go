package layout

import (
	"fmt"
	"maps"
	"slices"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/statement"
	"holdfast/inventory-srv/internal/stock"
)

// Units keeps one row for each unit, which MakeUnits makes when an order needs it. A unit with an order stays in its
// row until the order is released.
//
// Free rows are counted in the background (unit_counts), because a catalogue that counted them would read all of them
// for each buyer. Only a transaction that holds the stock row's lock anyway changes the count at once. An order that
// takes units changes no count: all orders would wait for its row.
type Units struct{ Row }

var (
	_ Layout   = Units{}
	_ Archiver = Units{}
)

// Name implements Layout.
func (Units) Name() string { return stock.LayoutUnits }

// Collect implements Layout. It removes the free units and waits for the orders that are taking some of them.
func (Units) Collect(tx *gorm.DB, sku string) (Counts, error) {
	res := tx.Exec("DELETE u FROM stock_units AS u FORCE INDEX (stock_units_order) WHERE u.sku = ? AND u.order_no IS NULL", sku)
	if res.Error != nil {
		return Counts{}, fmt.Errorf("remove the free units: %w", res.Error)
	}
	// The row stays: sold units of the SKU may have rows here.
	err := tx.Exec("UPDATE unit_counts SET free = 0, version = version + 1, counted_at = UTC_TIMESTAMP(6) WHERE sku = ?", sku).Error
	if err != nil {
		return Counts{}, fmt.Errorf("reset the count of the free units: %w", err)
	}
	return Counts{Available: res.RowsAffected}, nil
}

// Totals implements Layout.
func (Units) Totals() string {
	return `SELECT sku, CAST(SUM(order_no IS NULL) AS SIGNED) AS available, CAST(SUM(order_no IS NOT NULL AND sold = 0) AS SIGNED) AS reserved,
		CAST(SUM(sold) AS SIGNED) AS sold
		FROM stock_units GROUP BY sku`
}

// Free implements Layout. It is the last count, see [CountUnits].
func (Units) Free() string {
	return "COALESCE((SELECT c.free FROM unit_counts c WHERE c.sku = s.sku), 0)"
}

// CountUnits counts the free rows of a SKU that has a count, and writes the count, unless rows were made or removed
// meanwhile: that transaction has written a newer one. It locks no row of a unit.
func CountUnits(db *gorm.DB, sku string) error {
	var version int64
	if err := db.Raw("SELECT version FROM unit_counts WHERE sku = ?", sku).Row().Scan(&version); err != nil {
		return fmt.Errorf("read the count of the units of %s: %w", sku, err)
	}
	var free int64
	err := db.Raw("SELECT COUNT(*) FROM stock_units FORCE INDEX (stock_units_order) WHERE sku = ? AND order_no IS NULL", sku).Row().Scan(&free)
	if err != nil {
		return fmt.Errorf("count the free units of %s: %w", sku, err)
	}
	err = db.Exec("UPDATE unit_counts SET free = ?, counted_at = UTC_TIMESTAMP(6) WHERE sku = ? AND version = ?", free, sku, version).Error
	if err != nil {
		return fmt.Errorf("write the count of the units of %s: %w", sku, err)
	}
	return nil
}

// Archive implements Archiver.
func (Units) Archive(tx *gorm.DB, orders Orders) error {
	if len(orders) == 0 {
		return nil
	}
	var skus []string // with unit rows; each SKU that ever had some has a count
	wanted := slices.Sorted(maps.Keys(orders))
	if err := tx.Raw("SELECT sku FROM unit_counts WHERE sku IN ? ORDER BY sku", wanted).Scan(&skus).Error; err != nil {
		return fmt.Errorf("look for SKUs with unit rows: %w", err)
	}
	for _, sku := range skus {
		var locked string
		if err := tx.Raw("SELECT sku FROM stock WHERE sku = ? FOR UPDATE", sku).Row().Scan(&locked); err != nil {
			return fmt.Errorf("lock the stock row of %s: %w", sku, err)
		}
		res := tx.Exec("DELETE u FROM stock_units AS u FORCE INDEX (stock_units_order) WHERE u.sku = ? AND u.order_no IN ? AND u.sold = 1", sku, orders[sku])
		if res.Error != nil {
			return fmt.Errorf("delete sold units of %s: %w", sku, res.Error)
		}
		if res.RowsAffected == 0 {
			continue
		}
		err := tx.Exec("UPDATE stock SET sold = sold + ?, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?", res.RowsAffected, sku).Error
		if err != nil {
			return fmt.Errorf("add sold units to the stock row of %s: %w", sku, err)
		}
	}
	return nil
}

// unitChunk is how many unit rows one INSERT makes.
const unitChunk = 1000

// MakeUnits makes rows for unallocated units: some for an order and some that are free. The caller holds the stock
// row's lock and has checked that there are as many.
func MakeUnits(tx *gorm.DB, sku, orderNo string, ordered, free int64) error {
	var places []int64
	if err := tx.Raw("SELECT places FROM stock WHERE sku = ?", sku).Scan(&places).Error; err != nil {
		return fmt.Errorf("read the last place of %s: %w", sku, err)
	}
	if len(places) == 0 {
		return stock.UnknownSKU(sku)
	}
	number, all := places[0], ordered+free
	for made := int64(0); made < all; {
		n := min(unitChunk, all-made)
		s := statement.New(int(n), statement.LineSize, "INSERT INTO stock_units (sku, unit, order_no) VALUES ")
		for i := range n {
			s.Comma(int(i)).Add("(").Text(sku).Add(",").Number(number + made + i + 1).Add(",")
			if made+i < ordered {
				s.Text(orderNo).Add(")")
			} else {
				s.Add("NULL)")
			}
		}
		if _, err := s.Exec(tx); err != nil {
			return fmt.Errorf("make %d units of %s: %w", n, sku, err)
		}
		made += n
	}
	res := tx.Exec(`UPDATE stock SET available = available - ?, places = places + ?, version = version + 1, updated_at = UTC_TIMESTAMP(6)
		WHERE sku = ? AND available >= ?`, all, all, sku, all)
	if res.Error != nil {
		return fmt.Errorf("take %d units of %s from unallocated stock: %w", all, sku, res.Error)
	}
	if res.RowsAffected != 1 {
		return fmt.Errorf("%w: the unallocated stock of %s had fewer than %d units", stock.ErrInconsistent, sku, all)
	}
	// Else the units would be in no count until the next one, and the catalogue would show a SKU as sold out.
	err := tx.Exec(`INSERT INTO unit_counts (sku, free, counted_at) VALUES (?, ?, UTC_TIMESTAMP(6))
		ON DUPLICATE KEY UPDATE free = free + VALUES(free), version = version + 1`, sku, free).Error
	if err != nil {
		return fmt.Errorf("count the new units of %s: %w", sku, err)
	}
	return nil
}

// ReturnUnits makes the units of an order free again, under the stock row's lock. If the SKU has another layout by now,
// they become unallocated stock.
func ReturnUnits(tx *gorm.DB, l stock.Line, orderNo string) error {
	var layout []string
	if err := tx.Raw("SELECT layout FROM stock WHERE sku = ? FOR UPDATE", l.SKU).Scan(&layout).Error; err != nil {
		return fmt.Errorf("lock the stock row of %s: %w", l.SKU, err)
	}
	if len(layout) == 0 {
		return stock.UnknownSKU(l.SKU)
	}
	query := "UPDATE stock_units FORCE INDEX (stock_units_order) SET order_no = NULL WHERE sku = ? AND order_no = ? AND sold = 0"
	if layout[0] != stock.LayoutUnits {
		query = "DELETE u FROM stock_units AS u FORCE INDEX (stock_units_order) WHERE u.sku = ? AND u.order_no = ? AND u.sold = 0"
	}
	res := tx.Exec(query, l.SKU, orderNo)
	if res.Error != nil {
		return fmt.Errorf("return the units of %s: %w", l.SKU, res.Error)
	}
	if res.RowsAffected != l.Quantity {
		return fmt.Errorf("%w: %s has %d units of %s, not %d", stock.ErrInconsistent, orderNo, res.RowsAffected, l.SKU, l.Quantity)
	}
	if layout[0] == stock.LayoutUnits {
		return nil
	}
	err := tx.Exec("UPDATE stock SET available = available + ?, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?", l.Quantity, l.SKU).Error
	if err != nil {
		return fmt.Errorf("return the units of %s to unallocated stock: %w", l.SKU, err)
	}
	return nil
}
