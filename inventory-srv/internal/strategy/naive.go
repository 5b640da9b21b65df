package strategy

import (
	"context"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// Naive reads the stock, subtracts in Go and writes the result back, as anybody would whose program serves one buyer.
//
// Idea:        none; it is what the other strategies mend.
// Statements:  SELECT sku, available …; UPDATE … SET available = ?.
// Goes wrong:  two orders read 1, both find it enough, both write 0: one unit is sold twice, and nothing reports an error.
// That both are in transactions changes nothing, a transaction is no queue; and a COMMIT in time does not help either.
// Cost:        the two round trips of ForUpdate, without its waiting. That is why it looks so good in a benchmark.
// Choose it:   never. It refuses a SKU that is not marked for the lab.
//
// Transcript of naive, one CAP and two MUGs, as the servers log it (TestTranscripts):
//
//	START TRANSACTION
//	INSERT INTO reservations (order_no, status, request_hash, strategy)
//	    VALUES ('ORDER-2', 'reserved', '<hash>', 'naive')
//	    ON DUPLICATE KEY UPDATE order_no = order_no
//	SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ('CAP','MUG')
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
	rowStock // Confirm and Release, which are not to blame; they meet counters that are too low
}

var _ stock.Reserver = (*Naive)(nil)

func newNaive(d Deps) stock.Reserver {
	return &Naive{rowStock{d.Ledger}}
}

// Reserve implements stock.Reserver. stock.ErrLabOnly for a SKU that is not marked for the lab.
func (s *Naive) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return s.ledger.Reserve(ctx, r, deductUnguarded)
}

// deductUnguarded is right only for one who keeps everybody else out by other means.
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
