package strategy

import (
	"context"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// ForUpdate locks the order's stock rows until commit, so that a second order waits at its first read.
//
// Idea:        the database queues the orders for a row.
// Statements:  SELECT sku, available … FOR UPDATE, in SKU order; UPDATE … SET available = ?.
// Goes wrong:  unsorted rows deadlock; a lock taken outside the transaction ends with its statement; without an index
// every row is locked.
// Cost:        three round trips while the row is held (update, lines, commit), so one hot SKU sells one order at a
// time.
// Choose it:   contention is low, or the decision needs more than a comparison.
//
// Transcript of for-update, one CAP and two MUGs, as the servers log it (TestTranscripts):
//
//	START TRANSACTION
//	SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ('CAP','MUG')
//	INSERT INTO reservations (order_no, status, request_hash, strategy)
//	    VALUES ('ORDER-2', 'reserved', '<hash>', 'for-update')
//	    ON DUPLICATE KEY UPDATE order_no = order_no
//	SELECT sku, layout, lab, available, reserved, version
//	    FROM stock FORCE INDEX (PRIMARY)
//	    WHERE sku IN ('CAP','MUG') ORDER BY sku FOR UPDATE
//	UPDATE stock
//	    SET available = 998, reserved = 2, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'CAP'
//	UPDATE stock
//	    SET available = 996, reserved = 4, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'MUG'
//	INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
//	    VALUES ('ORDER-2', 'CAP', 1, 250), ('ORDER-2', 'MUG', 2, 250)
//	COMMIT
type ForUpdate struct {
	rowStock // Confirm and Release, common to the row layout
}

var _ stock.Reserver = (*ForUpdate)(nil)

func newForUpdate(d Deps) stock.Reserver {
	return &ForUpdate{rowStock{ledger: d.Ledger}}
}

// Reserve implements stock.Reserver.
func (s *ForUpdate) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	// The ledger begins the transaction, writes the header before this function and the lines after it, and commits.
	return s.ledger.Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		rows, err := readRows(tx, lines, forUpdate)
		if err != nil {
			return err
		}
		if err := rows.take(lines); err != nil {
			return err
		}
		return rows.save(tx)
	})
}
