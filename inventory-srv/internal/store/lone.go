package store

import (
	"fmt"

	"holdfast/inventory-srv/internal/statement"
	"holdfast/inventory-srv/internal/stock"
)

// Compact reports whether the ledger writes a reservation of one line as one row.
func (b Bulk) Compact() bool { return b.compact }

// ReserveUnread writes the compact reservation of an order of one line and takes its units, although nothing was read
// in this transaction. The receipt has the title and the price that an earlier one has read. It reports false when the
// catalogue has others by now, or when the row has too few units or another layout: then the transaction must be rolled
// back. database.IsDuplicate reports that the order exists.
//
// The title is compared as bytes: by the column's collation Mug and MUG are equal.
func (b Bulk) ReserveUnread(receipt stock.Receipt) (bool, error) {
	l := receipt.Lines[0]
	insert := statement.New(1, 2*statement.HeaderSize, "INSERT INTO reservations (order_no, strategy, sku, quantity, unit_price_cents) SELECT ")
	insert.Text(receipt.OrderNo).Add(",").Text(receipt.Strategy).Add(", sku, ").Number(l.Quantity).Add(", price_cents FROM products WHERE sku = ").Text(l.SKU)
	insert.Add(" AND price_cents = ").Number(l.UnitPriceCents).Add(" AND title = CAST(").Text(l.Title).Add(" AS BINARY)")
	written, err := insert.Exec(b.tx)
	if err != nil {
		return false, fmt.Errorf("insert a reservation: %w", err)
	}
	if written == 0 {
		return false, nil
	}
	take := statement.New(1, statement.HeaderSize, "UPDATE stock SET available = available - ").Number(l.Quantity)
	take.Add(", reserved = reserved + ").Number(l.Quantity).Add(", version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ").Text(l.SKU)
	take.Add(" AND layout = 'row' AND available >= ").Number(l.Quantity)
	taken, err := take.Exec(b.tx)
	if err != nil {
		return false, fmt.Errorf("take %d units of %s: %w", l.Quantity, l.SKU, err)
	}
	return taken == 1, nil
}
