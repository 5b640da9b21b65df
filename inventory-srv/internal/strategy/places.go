package strategy

import (
	"context"
	"errors"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/fault"
)

// What the layouts beside the row have in common: free units are laid out in places of their own, so that orders need not
// meet on the stock row. That row is the SKU's store room, where deliveries arrive and what comes back from an older layout,
// and its lock is the gate: an order that finds too little in the places takes it, looks at everything, and only then may
// be refused.

var (
	// errMiss is an order that the places it looked at could not serve. It must let go of them before it takes the gate.
	errMiss = fault.New(fault.Contended, "place_miss", "not enough in one place")
	// errMoved is a place that was there and is gone: the layout has changed meanwhile.
	errMoved = fault.New(fault.Contended, "place_moved", "the stock is stored in another way now")
)

// takeOrGate reserves with quick, which locks no stock row, and if that misses, in a new transaction, with careful.
func takeOrGate(ctx context.Context, ledger *store.Ledger, r stock.Request, quick, careful store.Move) (stock.Receipt, error) {
	receipt, err := ledger.Reserve(ctx, r, quick)
	if !errors.Is(err, errMiss) {
		return receipt, err
	}
	return ledger.Reserve(ctx, r, careful)
}

// untilFound repeats an operation for as long as the layout changes under it.
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

// gate locks the stock rows of lines in SKU order. stock.ErrWrongLayout, stock.ErrUnknownSKU.
func gate(tx *gorm.DB, layout string, lines []stock.Line) (rows, error) {
	return readRowsOf(tx, layout, lines, forUpdate)
}
