package strategy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// counter is a stock row under our lock, with what the catalogue says of it.
type counter struct {
	SKU        string
	Layout     string
	Available  int64
	Title      *string // nil: not in the catalogue
	PriceCents int64

	taken int64 // by the orders of this flush
}

// counters are the stock rows of a flush by SKU. A nil one is wanted but not there.
type counters map[string]*counter

func (cs counters) want(lines []stock.Line) {
	for _, l := range lines {
		cs[l.SKU] = nil
	}
}

// lockChunk is how many keys a locking read names: fewer than the 1,000 from which MariaDB makes a table of an IN list
// and may scan the other one.
const lockChunk = 500

// lock reads the wanted rows and locks them in SKU order until the transaction ends. Titles and prices come along as
// subqueries, which a locking read does not lock: a price may change at any time, so it is read each time, and it costs
// no round trip. Without the forced index the server may scan, and lock, the whole table.
func (cs counters) lock(tx *gorm.DB) error {
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(cs)), lockChunk) {
		var found []*counter
		err := tx.Raw(`SELECT s.sku, s.layout, s.available,
				(SELECT title FROM products AS p WHERE p.sku = s.sku) AS title,
				COALESCE((SELECT price_cents FROM products AS p WHERE p.sku = s.sku), 0) AS price_cents
			FROM stock AS s FORCE INDEX (PRIMARY) WHERE s.sku IN ? ORDER BY s.sku FOR UPDATE`, chunk).Scan(&found).Error
		if err != nil {
			return fmt.Errorf("lock the stock of %d SKUs: %w", len(chunk), err)
		}
		for _, c := range found {
			cs[c.SKU] = c
		}
	}
	return nil
}

// take moves an order's units in memory and returns its receipt's lines, or an error and nothing is moved:
// stock.ErrUnknownSKU, stock.ErrWrongLayout, or stock.ErrOutOfStock with all the lines that do not fit.
func (cs counters) take(lines []stock.Line) ([]stock.ReceiptLine, error) {
	var short []stock.ShortLine
	var elsewhere string
	for _, l := range lines {
		c := cs[l.SKU]
		switch {
		case c == nil || c.Title == nil:
			return nil, store.UnknownSKU(l.SKU)
		case c.Layout != LayoutRow && elsewhere == "":
			elsewhere = l.SKU
		case c.Available < l.Quantity:
			short = append(short, stock.ShortLine{SKU: l.SKU, Requested: l.Quantity, Available: c.Available})
		}
	}
	switch {
	case elsewhere != "":
		return nil, stock.ErrWrongLayout.With("sku", elsewhere)
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

// shift moves units of many SKUs from one counter to another, with one statement, whose parameter JSON_TABLE makes a
// table of. STRAIGHT_JOIN keeps its order, that of the SKUs, and the forced index makes each of its rows one look-up: a
// scan would lock the whole table, in any order.
func shift(tx *gorm.DB, units map[string]int64, from, to string) error {
	res := tx.Exec(`UPDATE JSON_TABLE(?, '$[*]' COLUMNS (
			sku VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PATH '$.s', units BIGINT PATH '$.n')) AS u
		STRAIGHT_JOIN stock AS s FORCE INDEX (PRIMARY) ON s.sku = u.sku
		SET s.`+from+" = s."+from+" - u.units, s."+to+" = s."+to+` + u.units,
			s.version = s.version + 1, s.updated_at = UTC_TIMESTAMP(6)
		WHERE s.`+from+" >= u.units", unitList(units))
	if res.Error != nil {
		return fmt.Errorf("move units of %d SKUs from %s to %s: %w", len(units), from, to, res.Error)
	}
	if res.RowsAffected != int64(len(units)) {
		return fmt.Errorf("move units of %d SKUs from %s to %s: %w", len(units), from, to, errCounters)
	}
	return nil
}

// unitList returns the units in JSON, in SKU order. It is a string because the driver marks bytes as binary, which is no
// JSON to MySQL.
func unitList(units map[string]int64) string {
	type row struct {
		SKU   string `json:"s"`
		Units int64  `json:"n"`
	}
	rows := make([]row, 0, len(units))
	for _, sku := range slices.Sorted(maps.Keys(units)) {
		rows = append(rows, row{sku, units[sku]})
	}
	text, err := json.Marshal(rows)
	if err != nil {
		panic(err) // texts and numbers
	}
	return string(text)
}
