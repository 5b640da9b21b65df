package strategy

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// Conditional subtracts and checks in one statement, and then checks how many rows the statement changed.
//
// Idea:        condition and subtraction are one statement, so no other transaction can write between them.
// Statements:  UPDATE … SET available = available - ? WHERE sku = ? AND available >= ?, a line each, in SKU order.
// Goes wrong:  zero changed rows is a refusal, but no error: code that checks only the error sells it. "available > 0"
// sells the last unit to an order of ten. After a refusal the row is not locked, and a later read may return newer
// numbers.
// Cost:        two round trips while the row is locked (lines, commit), the least that is possible with a row lock.
// Choose it:   by default, for a counter in a database. The decision must fit into a WHERE clause.
//
// Transcript of conditional, one CAP and two MUGs, as the servers log it (TestTranscripts):
//
//	START TRANSACTION
//	SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ('CAP','MUG')
//	INSERT INTO reservations (order_no, status, request_hash, strategy)
//	    VALUES ('ORDER-2', 'reserved', '<hash>', 'conditional')
//	    ON DUPLICATE KEY UPDATE order_no = order_no
//	UPDATE stock
//	    SET available = available - 1, reserved = reserved + 1, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'CAP' AND layout = 'row' AND available >= 1
//	UPDATE stock
//	    SET available = available - 2, reserved = reserved + 2, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'MUG' AND layout = 'row' AND available >= 2
//	INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
//	    VALUES ('ORDER-2', 'CAP', 1, 250), ('ORDER-2', 'MUG', 2, 250)
//	COMMIT
type Conditional struct {
	rowStock // Confirm and Release, common to the row layout
}

var _ stock.Reserver = (*Conditional)(nil)

func newConditional(d Deps) stock.Reserver {
	return &Conditional{rowStock{ledger: d.Ledger}}
}

// Reserve implements stock.Reserver.
func (s *Conditional) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return s.ledger.Reserve(ctx, r, deductConditionally)
}

func deductConditionally(tx *gorm.DB, lines []stock.Line) error {
	for i, l := range lines {
		res := tx.Exec(`UPDATE stock SET available = available - ?, reserved = reserved + ?, version = version + 1, updated_at = UTC_TIMESTAMP(6)
			WHERE sku = ? AND layout = 'row' AND available >= ?`, l.Quantity, l.Quantity, l.SKU, l.Quantity)
		if res.Error != nil {
			return fmt.Errorf("take %d units of %s: %w", l.Quantity, l.SKU, res.Error)
		}
		if res.RowsAffected == 0 {
			return decideLocked(tx, lines[i:])
		}
	}
	return nil
}

// decideLocked decides again under row locks after the first of lines changed no row. Its refusal names all lines that
// are short. Under READ COMMITTED an UPDATE that matched no row leaves the row unlocked, and a release may commit
// before the rows are read. If there is enough by then, the units are taken; otherwise the refusal would contradict its
// own numbers.
func decideLocked(tx *gorm.DB, lines []stock.Line) error {
	rows, err := readRows(tx, lines, forUpdate)
	if err != nil {
		return err
	}
	if err := rows.take(lines); err != nil {
		return err
	}
	return rows.save(tx)
}
