package strategy

import (
	"context"
	"fmt"
	"slices"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/statement"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// SkipLocked takes rows of single units, passing over those that other orders have locked.
//
// Idea:        let each order lock units of its own, so that none waits for another.
// Statements:  SELECT unit … WHERE order_no IS NULL LIMIT ? FOR UPDATE SKIP LOCKED; UPDATE stock_units SET order_no =
// ?. On a shortage ROLLBACK, then SELECT … FOR UPDATE of the stock rows; the same SELECT without SKIP LOCKED; new unit
// rows from the unallocated stock; and if that is not enough, a refusal.
// Goes wrong:  fewer free units than requested, with SKIP LOCKED, means that other orders have locked them, not that
// they are sold: those transactions may still roll back. A refusal there leaves units unsold.
// Cost:        rows: an order for a thousand units writes a thousand. The index of free units is rewritten with each
// sale.
// Choose it:   the units are things: seats, rooms, serial numbers. For a mere number it is a lot of rows.
//
// Transcript of skip-locked, one CAP and two MUGs, as the servers log it (TestTranscripts):
//
//	START TRANSACTION
//	SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ('CAP','MUG')
//	INSERT INTO reservations (order_no, status, request_hash, strategy)
//	    VALUES ('ORDER-2', 'reserved', '<hash>', 'skip-locked')
//	    ON DUPLICATE KEY UPDATE order_no = order_no
//	SELECT unit
//	    FROM stock_units FORCE INDEX (stock_units_order)
//	    WHERE sku = 'CAP' AND order_no IS NULL LIMIT 1 FOR UPDATE SKIP LOCKED
//	UPDATE stock_units FORCE INDEX (PRIMARY)
//	    SET order_no = 'ORDER-2'
//	    WHERE sku = 'CAP' AND unit IN (2) AND order_no IS NULL
//	SELECT unit
//	    FROM stock_units FORCE INDEX (stock_units_order)
//	    WHERE sku = 'MUG' AND order_no IS NULL LIMIT 2 FOR UPDATE SKIP LOCKED
//	UPDATE stock_units FORCE INDEX (PRIMARY)
//	    SET order_no = 'ORDER-2'
//	    WHERE sku = 'MUG' AND unit IN (3,4) AND order_no IS NULL
//	INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
//	    VALUES ('ORDER-2', 'CAP', 1, 250), ('ORDER-2', 'MUG', 2, 250)
//	COMMIT
type SkipLocked struct{ ledger *store.Ledger }

var _ stock.Reserver = (*SkipLocked)(nil)

// unitBatch is how many free unit rows an order makes beside its own. More rows delay that order; fewer bring the next
// order to the stock row lock sooner.
const unitBatch = 256

func newSkipLocked(d Deps) stock.Reserver { return &SkipLocked{ledger: d.Ledger} }

// Reserve implements stock.Reserver.
func (s *SkipLocked) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return takeOrLock(ctx, s.ledger, r,
		func(tx *gorm.DB, lines []stock.Line) error { return takeUnlocked(tx, r.OrderNo, lines) },
		func(tx *gorm.DB, lines []stock.Line) error { return takeLocked(tx, r.OrderNo, lines) })
}

// takeUnlocked takes units that no other order has locked, or returns errMiss.
func takeUnlocked(tx *gorm.DB, orderNo string, lines []stock.Line) error {
	for _, l := range lines {
		units, err := freeUnits(tx, l, " SKIP LOCKED")
		if err != nil {
			return err
		}
		if int64(len(units)) < l.Quantity {
			return errMiss
		}
		if err := assign(tx, orderNo, l.SKU, units); err != nil {
			return err
		}
	}
	return nil
}

// takeLocked holds the stock row locks, so that no units return or are made meanwhile, and waits for the orders that
// have locked free units. Its count is therefore exact.
func takeLocked(tx *gorm.DB, orderNo string, lines []stock.Line) error {
	rows, err := lockStockRows(tx, stock.LayoutUnits, lines)
	if err != nil {
		return err
	}
	var short []stock.ShortLine
	units := make([][]int64, len(lines))
	for i, l := range lines {
		if units[i], err = freeUnits(tx, l, ""); err != nil {
			return err
		}
		if free := int64(len(units[i])) + rows[i].Available; free < l.Quantity {
			short = append(short, stock.ShortLine{SKU: l.SKU, Requested: l.Quantity, Available: free, Lab: rows[i].Lab})
		}
	}
	if short != nil {
		return stock.OutOfStock(short)
	}
	for i, l := range lines {
		if err := assign(tx, orderNo, l.SKU, units[i]); err != nil {
			return err
		}
		missing := l.Quantity - int64(len(units[i]))
		if missing == 0 {
			continue
		}
		if err := layout.MakeUnits(tx, l.SKU, orderNo, missing, min(unitBatch, rows[i].Available-missing)); err != nil {
			return err
		}
	}
	return nil
}

// freeUnits locks up to the line's quantity of free units.
func freeUnits(tx *gorm.DB, l stock.Line, locking string) (units []int64, err error) {
	err = tx.Raw("SELECT unit FROM stock_units FORCE INDEX (stock_units_order) WHERE sku = ? AND order_no IS NULL LIMIT ? FOR UPDATE"+locking,
		l.SKU, l.Quantity).Scan(&units).Error
	if err != nil {
		return nil, fmt.Errorf("lock free units of %s: %w", l.SKU, err)
	}
	return units, nil
}

// assign gives locked free units to an order.
func assign(tx *gorm.DB, orderNo, sku string, units []int64) error {
	for chunk := range slices.Chunk(units, statement.KeyChunk) {
		res := tx.Exec("UPDATE stock_units FORCE INDEX (PRIMARY) SET order_no = ? WHERE sku = ? AND unit IN ? AND order_no IS NULL", orderNo, sku, chunk)
		if res.Error != nil {
			return fmt.Errorf("assign %d units of %s: %w", len(chunk), sku, res.Error)
		}
		if res.RowsAffected != int64(len(chunk)) {
			return fmt.Errorf("assign %d units of %s: %w", len(chunk), sku, errCounters)
		}
	}
	return nil
}

// Confirm implements stock.Reserver. Units stay with the order that bought them.
func (s *SkipLocked) Confirm(ctx context.Context, orderNo string) error {
	return s.ledger.Confirm(ctx, orderNo, func(tx *gorm.DB, by string, lines []stock.Line) error {
		if err := checkLayout(stock.LayoutUnits, by); err != nil {
			return err
		}
		for _, l := range lines {
			res := tx.Exec("UPDATE stock_units FORCE INDEX (stock_units_order) SET sold = 1 WHERE sku = ? AND order_no = ? AND sold = 0", l.SKU, orderNo)
			if res.Error != nil {
				return fmt.Errorf("sell units of %s: %w", l.SKU, res.Error)
			}
			if res.RowsAffected != l.Quantity {
				return fmt.Errorf("sell %d units of %s, which has %d: %w", l.Quantity, l.SKU, res.RowsAffected, errCounters)
			}
		}
		return nil
	})
}

// Release implements stock.Reserver. It takes the stock row's lock, because an order that is about to be refused counts
// under it, and because units of a SKU with another layout become unallocated stock.
func (s *SkipLocked) Release(ctx context.Context, orderNo string) error {
	return s.ledger.Release(ctx, orderNo, func(tx *gorm.DB, by string, lines []stock.Line) error {
		if err := checkLayout(stock.LayoutUnits, by); err != nil {
			return err
		}
		for _, l := range lines {
			if err := layout.ReturnUnits(tx, l, orderNo); err != nil {
				return err
			}
		}
		return nil
	})
}
