package strategy

import (
	"context"
	"errors"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/fault"
)

// The layouts buckets and units allocate free units to rows of their own ("places"), so that orders do not wait for the
// stock row. The stock row has the unallocated stock: deliveries, and units that return from an older layout. An order
// that finds too little in the places takes the stock row lock, reads everything, and only then may be refused.

var (
	// errMiss is an order for which the places it read have too little. It must roll back before it locks the stock row.
	errMiss = fault.New(fault.Contended, "place_miss", "not enough in one place")
	// errMoved is a place that no longer exists: the layout has changed meanwhile.
	errMoved = fault.New(fault.Contended, "place_moved", "the stock is stored in another way now")
)

// takeOrLock reserves with quick, which locks no stock row. After errMiss it reserves with careful, in a new
// transaction.
func takeOrLock(ctx context.Context, ledger *store.Ledger, r stock.Request, quick, careful store.Move) (stock.Receipt, error) {
	receipt, err := ledger.Reserve(ctx, r, quick)
	if !errors.Is(err, errMiss) {
		return receipt, err
	}
	return ledger.Reserve(ctx, r, careful)
}

// untilFound retries an operation while it returns errMoved.
func untilFound(ctx context.Context, operation func() error) error {
	for {
		err := operation()
		if !errors.Is(err, errMoved) {
			return err
		}
		if ctx.Err() != nil {
			return stock.ErrContended.Wrap(err)
		}
	}
}

// lockStockRows locks the stock rows of lines in SKU order. stock.ErrWrongLayout, stock.ErrUnknownSKU.
func lockStockRows(tx *gorm.DB, layout string, lines []stock.Line) (rows, error) {
	return readRowsOf(tx, layout, lines, forUpdate)
}
