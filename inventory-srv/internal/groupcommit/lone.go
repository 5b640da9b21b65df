package groupcommit

import (
	"errors"
	"sync"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/batch"
	"holdfast/pkg/database"
)

// errGuessWrong rolls a transaction back that was begun with what an earlier flush has read. The next attempt reads.
var errGuessWrong = errors.New("the catalogue or the stock is not as it was read before")

// tryLone reserves for an order of one line that is alone in its flush, without reading: it writes the order first, and
// then takes the units. Both statements check what an earlier flush has read. The stock row is locked for one round
// trip, and for three if it is read before them. tryLone reports false when there is nothing to guess by, and has done
// nothing then.
func (s *Reserver) tryLone(a *attempt[reserveCall, stock.Receipt]) (bool, error) {
	if a.mode != waiting || len(a.calls) != 1 || !a.bulk.Compact() || s.recheck.Load() > 0 {
		return false, nil
	}
	r := a.calls[0].Item
	line, ok := s.guesses.line(r.Lines)
	if !ok {
		return false, nil
	}
	calls := a.seal()
	if len(calls) == 0 {
		return true, errNothing
	}
	return true, s.reserveLone(a, calls[0], line)
}

func (s *Reserver) reserveLone(a *attempt[reserveCall, stock.Receipt], c *batch.Call[reserveCall, stock.Receipt], line stock.ReceiptLine) error {
	receipt := stock.Receipt{OrderNo: c.Item.OrderNo, Strategy: Name, Lines: []stock.ReceiptLine{line}}
	right, err := a.bulk.ReserveUnread(receipt)
	switch {
	case database.IsDuplicate(err):
		s.recheck.Store(recheckFlushes)
		return err
	case err != nil:
		return err
	case !right:
		s.guesses.forget(line.SKU)
		return errGuessWrong
	}
	s.guesses.took(line)
	c.Answer(receipt, nil)
	return nil
}

// maxGuesses is how many SKUs the guesses have. Of more SKUs some are read more often.
const maxGuesses = 10_000

// guess is what a flush has read of a SKU. The units are those that it has left.
type guess struct {
	title      string
	priceCents int64
	available  int64
}

// guesses are what flushes have last read, by SKU. They may be wrong: other replicas sell, and prices change. It is
// safe for concurrent use.
type guesses struct {
	mu    sync.Mutex
	bySKU map[string]guess
}

// learn records the rows of a flush. A row that another session has locked was not read: the next order for it reads,
// and does not wait.
func (g *guesses) learn(rows counters) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for sku, c := range rows {
		if c == nil || c.Title == nil || c.Layout != stock.LayoutRow {
			delete(g.bySKU, sku)
			continue
		}
		if _, known := g.bySKU[sku]; !known && len(g.bySKU) >= maxGuesses {
			for other := range g.bySKU { // any
				delete(g.bySKU, other)
				break
			}
		}
		g.bySKU[sku] = guess{*c.Title, c.PriceCents, c.Available}
	}
}

// line returns the line of a receipt for an order of one line for which there should be units.
func (g *guesses) line(lines []stock.Line) (stock.ReceiptLine, bool) {
	if len(lines) != 1 {
		return stock.ReceiptLine{}, false
	}
	l := lines[0]
	g.mu.Lock()
	defer g.mu.Unlock()
	row, ok := g.bySKU[l.SKU]
	if !ok || row.available < l.Quantity {
		return stock.ReceiptLine{}, false
	}
	return stock.ReceiptLine{SKU: l.SKU, Title: row.title, Quantity: l.Quantity, UnitPriceCents: row.priceCents}, true
}

func (g *guesses) took(l stock.ReceiptLine) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if row, ok := g.bySKU[l.SKU]; ok {
		row.available -= l.Quantity
		g.bySKU[l.SKU] = row
	}
}

func (g *guesses) forget(sku string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.bySKU, sku)
}
