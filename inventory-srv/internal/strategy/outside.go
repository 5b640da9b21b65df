package strategy

import (
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// RowStock is Confirm and Release of the row layout, for strategies outside of this package, which embed it and add
// Reserve.
type RowStock struct{ rowStock }

// NewRowStock returns the Confirm and Release of a strategy that reserves through the ledger.
func NewRowStock(ledger *store.Ledger) RowStock { return RowStock{rowStock{ledger: ledger}} }

// Rows are the stock rows of one order, as they were read, for strategies outside of this package.
type Rows struct{ rows rows }

// ReadRows reads the stock rows of the lines, which are in SKU order. It locks nothing: another order may change them
// as soon as they were read. stock.ErrUnknownSKU, stock.ErrWrongLayout.
func ReadRows(tx *gorm.DB, lines []stock.Line) (Rows, error) {
	found, err := readRows(tx, lines, "")
	return Rows{found}, err
}

// LockRows is ReadRows and locks the rows until the transaction ends.
func LockRows(tx *gorm.DB, lines []stock.Line) (Rows, error) {
	found, err := readRows(tx, lines, forUpdate)
	return Rows{found}, err
}

// Take moves the units of the lines from available to reserved, in memory. stock.ErrOutOfStock, with all the lines that
// do not fit and what is left of them.
func (r Rows) Take(lines []stock.Line) error { return r.rows.take(lines) }

// Save writes the rows as they are in memory. It overwrites what other transactions have written since the read.
func (r Rows) Save(tx *gorm.DB) error { return r.rows.save(tx) }
