package groupcommit

import (
	"fmt"
	"maps"
	"slices"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/statement"
	"holdfast/inventory-srv/internal/stock"
)

// counter is a locked stock row, with the SKU's title and price from the catalogue.
type counter struct {
	SKU        string
	Layout     string
	Lab        bool
	Available  int64
	Title      *string // nil: not in the catalogue
	PriceCents int64

	taken int64 // by orders of this flush
}

// counters are the stock rows of a flush by SKU. A nil counter is a SKU without a row, or with a row that was not read
// yet.
type counters map[string]*counter

func (cs counters) want(lines []stock.Line) {
	for _, l := range lines {
		cs[l.SKU] = nil
	}
}

// lock reads the wanted rows and locks them in SKU order until the transaction ends. Titles and prices are subqueries,
// whose rows a locking read does not lock. They cost no round trip. Without the forced index the server may scan and
// lock the whole table.
func (cs counters) lock(tx *gorm.DB) error { return cs.read(tx, " FOR UPDATE") }

// lockFree is lock without the rows that other transactions have locked. It does not wait for them and returns their
// SKUs.
func (cs counters) lockFree(tx *gorm.DB) (blocked []string, err error) {
	if err := cs.read(tx, " FOR UPDATE SKIP LOCKED"); err != nil {
		return nil, err
	}
	return cs.missing(tx)
}

func (cs counters) read(tx *gorm.DB, locking string) error {
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(cs)), statement.KeyChunk) {
		var found []*counter
		err := tx.Raw(`SELECT s.sku, s.layout, s.lab, s.available,
				(SELECT title FROM products AS p WHERE p.sku = s.sku) AS title,
				COALESCE((SELECT price_cents FROM products AS p WHERE p.sku = s.sku), 0) AS price_cents
			FROM stock AS s FORCE INDEX (PRIMARY) WHERE s.sku IN ? ORDER BY s.sku`+locking, chunk).Scan(&found).Error
		if err != nil {
			return fmt.Errorf("lock the stock of %d SKUs: %w", len(chunk), err)
		}
		for _, c := range found {
			cs[c.SKU] = c
		}
	}
	return nil
}

// found returns the SKUs of the rows that were read.
func (cs counters) found() []string {
	skus := make([]string, 0, len(cs))
	for sku, c := range cs {
		if c != nil {
			skus = append(skus, sku)
		}
	}
	return skus
}

// missing returns the wanted SKUs that have a row that was not read.
func (cs counters) missing(tx *gorm.DB) (skus []string, err error) {
	var wanted []string
	for sku, c := range cs {
		if c == nil {
			wanted = append(wanted, sku)
		}
	}
	slices.Sort(wanted)
	for chunk := range slices.Chunk(wanted, statement.KeyChunk) {
		var found []string
		err := tx.Raw("SELECT sku FROM stock FORCE INDEX (PRIMARY) WHERE sku IN ? ORDER BY sku", chunk).Scan(&found).Error
		if err != nil {
			return nil, fmt.Errorf("look for the stock of %d SKUs: %w", len(chunk), err)
		}
		skus = append(skus, found...)
	}
	return skus, nil
}

// take moves an order's units in memory and returns the lines of its receipt. On an error it moves nothing:
// stock.ErrUnknownSKU, stock.ErrWrongLayout, or stock.ErrOutOfStock with all the lines that do not fit.
func (cs counters) take(lines []stock.Line) ([]stock.ReceiptLine, error) {
	var short []stock.ShortLine
	var elsewhere *counter
	for _, l := range lines {
		c := cs[l.SKU]
		switch {
		case c == nil || c.Title == nil:
			return nil, stock.UnknownSKU(l.SKU)
		case c.Layout != stock.LayoutRow && elsewhere == nil:
			elsewhere = c
		case c.Available < l.Quantity:
			short = append(short, stock.ShortLine{SKU: l.SKU, Requested: l.Quantity, Available: c.Available, Lab: c.Lab})
		}
	}
	switch {
	case elsewhere != nil:
		return nil, stock.WrongLayout(elsewhere.SKU, elsewhere.Layout)
	case short != nil:
		return nil, stock.OutOfStock(short)
	}
	receipt := make([]stock.ReceiptLine, len(lines))
	for i, l := range lines {
		c := cs[l.SKU]
		c.Available -= l.Quantity
		c.taken += l.Quantity
		receipt[i] = stock.ReceiptLine{SKU: l.SKU, Title: *c.Title, Quantity: l.Quantity, UnitPriceCents: c.PriceCents}
	}
	return receipt, nil
}

// taken returns how many units of each SKU were taken.
func (cs counters) taken() map[string]int64 {
	units := make(map[string]int64, len(cs))
	for sku, c := range cs {
		if c != nil && c.taken > 0 {
			units[sku] = c.taken
		}
	}
	return units
}
