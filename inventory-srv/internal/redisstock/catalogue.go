package redisstock

import (
	"context"
	"sync"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// catalogue caches titles and prices, which never change, so that an order needs no SQL.
type catalogue struct {
	ledger *store.Ledger
	mu     sync.RWMutex
	known  map[string]stock.ReceiptLine
}

// price returns the request's lines with their prices. stock.ErrUnknownSKU.
func (c *catalogue) price(ctx context.Context, r stock.Request) ([]store.PricedLine, error) {
	lines := make([]store.PricedLine, len(r.Lines))
	c.mu.RLock()
	all := true
	for i, l := range r.Lines {
		p, ok := c.known[l.SKU]
		all = all && ok
		lines[i] = store.PricedLine{SKU: l.SKU, Quantity: l.Quantity, UnitPriceCents: p.UnitPriceCents}
	}
	c.mu.RUnlock()
	if all {
		return lines, nil
	}
	priced, err := c.ledger.Price(ctx, r)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, l := range priced.Lines {
		lines[i].UnitPriceCents = l.UnitPriceCents
		c.known[l.SKU] = l
	}
	return lines, nil
}

// receipt makes the receipt of lines, at the prices at which they were reserved.
func (c *catalogue) receipt(r stock.Request, lines []store.PricedLine) stock.Receipt {
	out := stock.Receipt{OrderNo: r.OrderNo, Strategy: r.Strategy, Lines: make([]stock.ReceiptLine, len(lines))}
	c.mu.RLock()
	defer c.mu.RUnlock()
	for i, l := range lines {
		out.Lines[i] = stock.ReceiptLine{SKU: l.SKU, Title: c.known[l.SKU].Title, Quantity: l.Quantity, UnitPriceCents: l.UnitPriceCents}
	}
	return out
}
