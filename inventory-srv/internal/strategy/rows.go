package strategy

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// errCounters is a counter that is lower than the ledger's sum, or a missing row: a strategy or an operator has written
// wrong numbers. Callers get an opaque internal fault.
var errCounters = errors.New("a stock counter does not agree with the ledger")

// rowStock is confirm and release of all strategies of the row layout. Both change counters relatively, under the row's
// own lock, and are therefore right together with every strategy but Mutex, which writes what it has read and is alone
// only while it holds its mutex. They do not check the layout of the SKU: reserved units stay on the row when the
// layout changes, and released units are available to the new layout.
type rowStock struct {
	ledger *store.Ledger
	mutex  bool // the caller holds the mutex of Mutex
}

// ends returns *stock.OtherStrategyError for an order that by has to end: it works on another layout, or under the
// mutex.
func (s rowStock) ends(by string) error {
	if by == mutexName && !s.mutex {
		return &stock.OtherStrategyError{Strategy: by}
	}
	return checkLayout(stock.LayoutRow, by)
}

// Confirm implements stock.Reserver.
func (s rowStock) Confirm(ctx context.Context, orderNo string) error {
	return s.ledger.Confirm(ctx, orderNo, func(tx *gorm.DB, by string, lines []stock.Line) error {
		if err := s.ends(by); err != nil {
			return err
		}
		return move(tx, lines, sellOnRow)
	})
}

// Release implements stock.Reserver.
func (s rowStock) Release(ctx context.Context, orderNo string) error {
	return s.ledger.Release(ctx, orderNo, func(tx *gorm.DB, by string, lines []stock.Line) error {
		if err := s.ends(by); err != nil {
			return err
		}
		return move(tx, lines, giveBackOnRow)
	})
}

const (
	sellOnRow = `UPDATE stock SET reserved = reserved - ?, sold = sold + ?,
		version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ? AND reserved >= ?`
	giveBackOnRow = `UPDATE stock SET reserved = reserved - ?, available = available + ?,
		version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ? AND reserved >= ?`
)

// move runs query for each line, in SKU order. If a line changes no row, the counters would differ from the ledger, so
// move returns an error and the transaction is rolled back.
func move(tx *gorm.DB, lines []stock.Line, query string) error {
	for _, l := range lines {
		res := tx.Exec(query, l.Quantity, l.Quantity, l.SKU, l.Quantity)
		if res.Error != nil {
			return fmt.Errorf("move %d units of %s: %w", l.Quantity, l.SKU, res.Error)
		}
		if res.RowsAffected != 1 {
			return fmt.Errorf("move %d units of %s: %w", l.Quantity, l.SKU, errCounters)
		}
	}
	return nil
}

// row is a stock row as it was read.
type row struct {
	SKU       string
	Layout    string
	Lab       bool // created for the lab: unsafe strategies may sell it
	Available int64
	Reserved  int64
	Version   int64
}

// rows are an order's stock rows, line by line.
type rows []row

// forUpdate locks the rows that are read until the transaction ends.
const forUpdate = " FOR UPDATE"

// readRows reads the rows of lines in SKU order. locking is "" or forUpdate. stock.ErrUnknownSKU, stock.ErrWrongLayout.
func readRows(tx *gorm.DB, lines []stock.Line, locking string) (rows, error) {
	return readRowsOf(tx, stock.LayoutRow, lines, locking)
}

// readRowsOf is readRows for SKUs of another layout. The primary key is forced because over a small table the optimizer
// may prefer to scan, and a scan FOR UPDATE waits for the rows of other orders too.
func readRowsOf(tx *gorm.DB, layout string, lines []stock.Line, locking string) (rows, error) {
	skus := stock.Request{Lines: lines}.SKUs()
	var found rows
	err := tx.Raw("SELECT sku, layout, lab, available, reserved, version FROM stock FORCE INDEX (PRIMARY) WHERE sku IN ? ORDER BY sku"+locking,
		skus).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("read the stock: %w", err)
	}
	for i, sku := range skus {
		switch {
		case i >= len(found) || found[i].SKU != sku:
			return nil, stock.UnknownSKU(sku)
		case found[i].Layout != layout:
			return nil, stock.WrongLayout(sku, found[i].Layout)
		}
	}
	return found, nil
}

// onlyLab returns stock.ErrLabOnly when a SKU is real stock, which no unsafe strategy may touch.
func (rs rows) onlyLab() error {
	for _, r := range rs {
		if !r.Lab {
			return stock.ErrLabOnly.With("sku", r.SKU)
		}
	}
	return nil
}

// take moves the lines' units from available to reserved in memory, or returns stock.ErrOutOfStock with all the lines
// that do not fit.
func (rs rows) take(lines []stock.Line) error {
	var short []stock.ShortLine
	for i, l := range lines {
		if rs[i].Available < l.Quantity {
			short = append(short, stock.ShortLine{SKU: l.SKU, Requested: l.Quantity, Available: rs[i].Available, Lab: rs[i].Lab})
			continue
		}
		rs[i].Available -= l.Quantity
		rs[i].Reserved += l.Quantity
	}
	if short != nil {
		return stock.OutOfStock(short)
	}
	return nil
}

// save writes the rows as they are in memory. It overwrites what other transactions have written since the read, so the
// caller must hold a lock that excludes them.
func (rs rows) save(tx *gorm.DB) error {
	for _, r := range rs {
		res := tx.Exec("UPDATE stock SET available = ?, reserved = ?, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?",
			r.Available, r.Reserved, r.SKU)
		if res.Error != nil {
			return fmt.Errorf("write the stock of %s: %w", r.SKU, res.Error)
		}
		if res.RowsAffected != 1 {
			return fmt.Errorf("write the stock of %s: %w", r.SKU, errCounters)
		}
	}
	return nil
}
