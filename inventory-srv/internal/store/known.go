package store

import (
	"context"
	"fmt"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// Known is an order as the ledger has it.
type Known struct {
	Status   stock.Status
	Hash     string
	Strategy string
	Lines    []PricedLine
}

// PricedLine is a line with the price at which it was reserved.
type PricedLine struct {
	SKU            string
	Quantity       int64
	UnitPriceCents int64
}

// Known returns what the ledger has of an order, and false when it has nothing.
func (l *Ledger) Known(ctx context.Context, orderNo string) (Known, bool, error) {
	db := l.db.WithContext(ctx)
	h, known, err := queryHeader(db, selectHeader+" WHERE order_no = ?", orderNo)
	if err != nil || !known {
		return Known{}, false, notExecuted(ctx, database.Fault(err))
	}
	out := Known{Status: h.Status, Hash: h.RequestHash, Strategy: h.Strategy}
	if h.SKU != nil {
		out.Hash = stock.Request{Lines: []stock.Line{{SKU: *h.SKU, Quantity: h.Quantity}}}.Hash()
		out.Lines = []PricedLine{{SKU: *h.SKU, Quantity: h.Quantity, UnitPriceCents: h.UnitPriceCents}}
		return out, true, nil
	}
	// By the view: the line may have been converted since the header was read.
	err = db.Raw("SELECT sku, quantity, unit_price_cents FROM all_reservation_lines WHERE order_no = ? ORDER BY sku", orderNo).Scan(&out.Lines).Error
	if err != nil {
		return Known{}, false, notExecuted(ctx, database.Fault(fmt.Errorf("read the lines: %w", err)))
	}
	return out, true, nil
}

// Price returns the lines of a request with titles and prices, or stock.ErrUnknownSKU.
func (l *Ledger) Price(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	receipt, err := price(l.db.WithContext(ctx), r)
	return receipt, notExecuted(ctx, database.Fault(err))
}
