package strategy

import (
	"context"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// Naive reads the stock, subtracts in Go and writes the result back. That is right in a program that serves one buyer.
//
// Idea:        none; the other strategies repair it.
// Statements:  SELECT sku, available …; UPDATE … SET available = ?.
// Goes wrong:  two orders read 1, and both write 0: one unit is sold twice, and no statement returns an error.
// Transactions do not prevent it: under READ COMMITTED a plain read locks nothing.
// Cost:        the two round trips of ForUpdate without its waits, so its benchmark looks good.
// Choose it:   never. It refuses a SKU that is not marked for the lab.
//
// Transcript of naive, one CAP and two MUGs, as the servers log it (TestTranscripts):
//
//	START TRANSACTION
//	SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ('CAP','MUG')
//	INSERT INTO reservations (order_no, status, request_hash, strategy)
//	    VALUES ('ORDER-2', 'reserved', '<hash>', 'naive')
//	    ON DUPLICATE KEY UPDATE order_no = order_no
//	SELECT sku, layout, lab, available, reserved, version
//	    FROM stock FORCE INDEX (PRIMARY)
//	    WHERE sku IN ('CAP','MUG') ORDER BY sku
//	UPDATE stock
//	    SET available = 998, reserved = 2, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'CAP'
//	UPDATE stock
//	    SET available = 996, reserved = 4, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'MUG'
//	INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
//	    VALUES ('ORDER-2', 'CAP', 1, 250), ('ORDER-2', 'MUG', 2, 250)
//	COMMIT
type Naive struct {
	rowStock // Confirm and Release, common to the row layout; they fail on counters that are too low
}

var _ stock.Reserver = (*Naive)(nil)

func newNaive(d Deps) stock.Reserver {
	return &Naive{rowStock{ledger: d.Ledger}}
}

// Reserve implements stock.Reserver. stock.ErrLabOnly for a SKU that is not marked for the lab.
func (s *Naive) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return s.ledger.Reserve(ctx, r, deductUnguarded)
}

// deductUnguarded is right only while a lock of the caller excludes all other writers.
func deductUnguarded(tx *gorm.DB, lines []stock.Line) error {
	rows, err := readRows(tx, lines, "")
	if err != nil {
		return err
	}
	if err := rows.onlyLab(); err != nil {
		return err
	}
	if err := rows.take(lines); err != nil {
		return err
	}
	return rows.save(tx)
}
