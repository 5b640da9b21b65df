package layout

import (
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/statement"
	"holdfast/inventory-srv/internal/stock"
)

// Units keeps one row for each unit, which MakeUnits makes when an order needs it. A unit with an order stays in its
// row until the order is released.
type Units struct{ Row }

var _ Layout = Units{}

// Name implements Layout.
func (Units) Name() string { return stock.LayoutUnits }

// Collect implements Layout. It removes the free units and waits for the orders that are taking some of them.
func (Units) Collect(tx *gorm.DB, sku string) (Counts, error) {
	res := tx.Exec("DELETE u FROM stock_units AS u FORCE INDEX (stock_units_order) WHERE u.sku = ? AND u.order_no IS NULL", sku)
	if res.Error != nil {
		return Counts{}, fmt.Errorf("remove the free units: %w", res.Error)
	}
	return Counts{Available: res.RowsAffected}, nil
}

// Totals implements Layout.
func (Units) Totals() string {
	return `SELECT sku, CAST(SUM(order_no IS NULL) AS SIGNED) AS available, CAST(SUM(order_no IS NOT NULL AND sold = 0) AS SIGNED) AS reserved,
		CAST(SUM(sold) AS SIGNED) AS sold
		FROM stock_units GROUP BY sku`
}

// Free implements Layout.
func (Units) Free() string {
	return "(SELECT COUNT(*) FROM stock_units u WHERE u.sku = s.sku AND u.order_no IS NULL)"
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
