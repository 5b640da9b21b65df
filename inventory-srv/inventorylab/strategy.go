package inventorylab

import (
	"context"
	"io"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/app"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/server"
)

// The names that a strategy outside of inventory-srv needs. They are the service's own. Its answers are errors of
// inventoryapi, such as inventoryapi.ErrOutOfStock.
type (
	// Strategy describes a strategy and makes it: Name, Layout (LayoutRow), Idea, Safe and New.
	Strategy = strategy.Strategy
	// Deps is what New gets. DB is the connection pool, Ledger writes the reservations, Locker is a lock in Redis.
	Deps = strategy.Deps
	// Reserver is what New returns: Reserve, Confirm and Release, all idempotent by order number.
	Reserver = stock.Reserver

	// Request asks for all of its lines or none.
	Request = stock.Request
	// Line is a quantity of one SKU.
	Line = stock.Line
	// Receipt is the answer to a successful reserve; a repeat gets an equal one.
	Receipt = stock.Receipt

	// Ledger runs the transaction of an order: it writes the reservation, calls the strategy for the deduction, and
	// commits. It answers an order number that it has already without calling the strategy.
	Ledger = store.Ledger
	// Move is the strategy's part of that transaction: it changes the counters for the lines, which come in SKU order.
	Move = store.Move

	// RowStock is Confirm and Release for a strategy of LayoutRow. A strategy embeds it and adds Reserve.
	RowStock = strategy.RowStock
	// Rows are the stock rows of an order: Take subtracts in memory, Save writes the result.
	Rows = strategy.Rows
)

// LayoutRow is the layout with the counters of a SKU on one row of the table stock.
const LayoutRow = stock.LayoutRow

// NewRowStock returns Confirm and Release of the row layout.
func NewRowStock(ledger *Ledger) RowStock { return strategy.NewRowStock(ledger) }

// ReadRows reads the stock rows of the lines without a lock.
func ReadRows(tx *gorm.DB, lines []Line) (Rows, error) { return strategy.ReadRows(tx, lines) }

// LockRows reads the stock rows of the lines with SELECT … FOR UPDATE, in SKU order.
func LockRows(tx *gorm.DB, lines []Line) (Rows, error) { return strategy.LockRows(tx, lines) }

// NewDeps returns what a strategy needs on a pool of the inventory database: DB, Store and Ledger, and nothing of
// Redis.
func NewDeps(db *gorm.DB) Deps {
	s := store.New(db, strategy.Layouts())
	return Deps{DB: db, Store: s, Ledger: s.Ledger()}
}

// Main runs inventory-srv with strategies from outside: its main function is all that a program with a strategy of its
// own needs. The settings and commands are those of inventory-srv, and STOCK_STRATEGY may be one of extra.
func Main(extra ...Strategy) {
	server.Main(func(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
		return app.Run(ctx, args, getenv, stdout, extra...)
	})
}
