package store

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// Confirm ends a reservation as sold; sell moves its units from reserved to sold. A repeat changes nothing and
// succeeds. stock.ErrClosed when the order was released, stock.ErrUnknownOrder when it was never reserved.
func (l *Ledger) Confirm(ctx context.Context, orderNo string, sell End) error {
	if err := stock.CheckOrderNo(orderNo); err != nil {
		return err
	}
	err := database.InTx(ctx, l.db, func(tx *gorm.DB) error {
		h, known, err := lockHeader(tx, orderNo)
		switch {
		case err != nil:
			return err
		case !known:
			return stock.ErrUnknownOrder
		case h.Status == stock.Confirmed:
			return nil
		case h.Status != stock.Reserved:
			return stock.ErrClosed
		}
		return end(tx, h, stock.Confirmed, sell)
	}, database.SettleBy("SELECT order_no FROM reservations WHERE order_no = ? AND status = 'confirmed' FOR UPDATE", orderNo))
	if err != nil {
		return notExecuted(ctx, fmt.Errorf("confirm %s: %w", orderNo, err))
	}
	return nil
}

// Release ends a reservation as released; giveBack moves its units from reserved to available. A repeat changes nothing
// and succeeds. For an order that was never reserved it writes a tombstone, which refuses a later reserve.
// stock.ErrConfirmed when the order was confirmed.
func (l *Ledger) Release(ctx context.Context, orderNo string, giveBack End) error {
	if err := stock.CheckOrderNo(orderNo); err != nil {
		return err
	}
	err := database.InTx(ctx, l.db, func(tx *gorm.DB) error {
		h, known, err := lockOrInsertTombstone(tx, orderNo)
		switch {
		case err != nil:
			return err
		case !known || h.Status == stock.Released || h.Status == stock.Void:
			return nil
		case h.Status == stock.Confirmed:
			return stock.ErrConfirmed
		}
		return end(tx, h, stock.Released, giveBack)
	}, database.SettleBy("SELECT order_no FROM reservations WHERE order_no = ? AND status IN ('released', 'void') FOR UPDATE", orderNo))
	if err != nil {
		return notExecuted(ctx, fmt.Errorf("release %s: %w", orderNo, err))
	}
	return nil
}

// lockOrInsertTombstone locks an order's header, or inserts the tombstone and returns known = false.
func lockOrInsertTombstone(tx *gorm.DB, orderNo string) (h header, known bool, err error) {
	h, known, err = lockHeader(tx, orderNo)
	if err != nil || known {
		return h, known, err
	}
	inserted, err := insertHeader(tx, header{OrderNo: orderNo, Status: stock.Void})
	if err != nil || inserted {
		return header{}, false, err
	}
	// A reserve inserted the header between the two statements. It has committed, because the insert waited for it.
	h, known, err = lockHeader(tx, orderNo)
	if err == nil && !known {
		err = fmt.Errorf("%w: the header of %s was there and is gone", stock.ErrInconsistent, orderNo)
	}
	return h, known, err
}

// end gives a reserved header its final status and moves the units. The caller holds the header's lock.
func end(tx *gorm.DB, h header, status stock.Status, move End) error {
	res := tx.Exec("UPDATE reservations SET status = ?, updated_at = UTC_TIMESTAMP(6) WHERE order_no = ? AND status = 'reserved'", status, h.OrderNo)
	if res.Error != nil {
		return fmt.Errorf("mark %s: %w", status, res.Error)
	}
	if res.RowsAffected != 1 {
		return fmt.Errorf("%w: %s left its status under our lock", stock.ErrInconsistent, h.OrderNo)
	}
	lines, err := readLines(tx, h)
	if err != nil {
		return err
	}
	return move(tx, h.Strategy, lines)
}
