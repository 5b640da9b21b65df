package groupcommit

import (
	"slices"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/batch"
	"holdfast/pkg/database"
)

// reserveCall is a request with its lines in SKU order, and the hash that is written for an order of several lines.
type reserveCall struct {
	stock.Request
	hash string
}

func newReserveCall(r stock.Request) reserveCall {
	if len(r.Lines) == 1 {
		return reserveCall{Request: r}
	}
	r = r.Sorted()
	return reserveCall{Request: r, hash: r.Hash()}
}

// reserveCalls are calls of one flush.
type reserveCalls = []*batch.Call[reserveCall, stock.Receipt]

// recheckFlushes is the number of flushes that look for known orders first, after the insert of one flush has met a
// known order. Retries come in bursts, and a flush that has to start again costs twice.
const recheckFlushes = 64

// tryReserves decides and writes all orders of a flush. Only here stock is read before the header is written; otherwise
// the header of each refused order would have to be deleted again. The header's primary key still decides: usually
// tryReserves does not look for known orders first, as the insert finds them.
func (s *Reserver) tryReserves(a *attempt[reserveCall, stock.Receipt]) error {
	a.setAsideKnown()
	if tried, err := s.tryLone(a); tried {
		return err
	}
	d := &decisions{known: map[string]store.Header{}, place: make(map[string]int, len(a.calls))}
	if a.mode == skipping || s.recheck.Add(-1) >= 0 {
		if err := d.learn(a.bulk, a.calls); err != nil {
			return err
		}
	}
	a.setAsideFound(d.known)
	var err error
	if d.stock, err = a.lockRows(func(r reserveCall) []stock.Line { return r.Lines }); err != nil {
		return err
	}
	var refused reserveCalls
	calls := a.seal()
	d.accepted = make([]store.NewReservation, 0, len(calls))
	for _, c := range calls { // first come, first served
		receipt, err := d.decide(c.Item)
		if err != nil {
			refused = append(refused, c)
		}
		c.Answer(receipt, err)
	}
	s.guesses.learn(d.stock)
	if err := d.reconsider(a.bulk, refused); err != nil {
		return err
	}
	if len(d.accepted) == 0 {
		return errNothing
	}
	err = a.bulk.Insert(d.accepted)
	if database.IsDuplicate(err) {
		s.recheck.Store(recheckFlushes)
	}
	if err != nil {
		return err
	}
	return a.bulk.Shift(d.stock.taken(), store.Available, store.Reserved)
}

// decisions is what a flush has read, and what it has decided.
type decisions struct {
	known    map[string]store.Header
	replays  map[string]stock.Receipt // of known orders
	stock    counters
	accepted []store.NewReservation
	place    map[string]int // of an order in accepted
}

// learn reads the ledger's records of the calls' orders.
func (d *decisions) learn(b store.Bulk, calls reserveCalls) error {
	orderNos := make([]string, len(calls))
	for i, c := range calls {
		orderNos[i] = c.Item.OrderNo
	}
	var err error
	if d.known, err = b.Headers(orderNos); err != nil || len(d.known) == 0 {
		return err
	}
	var held []store.Header
	for _, h := range d.known {
		if h.Status == stock.Reserved || h.Status == stock.Confirmed {
			held = append(held, h)
		}
	}
	d.replays, err = b.Receipts(held)
	return err
}

// decide answers one order as if the orders before it in the flush had been committed.
func (d *decisions) decide(r reserveCall) (stock.Receipt, error) {
	if h, known := d.known[r.OrderNo]; known {
		return d.replay(r, h)
	}
	if i, known := d.place[r.OrderNo]; known {
		if !isFor(d.accepted[i].Receipt, r.Request) {
			return stock.Receipt{}, stock.ErrMismatch
		}
		return d.accepted[i].Receipt, nil
	}
	lines, err := d.stock.take(r.Lines)
	if err != nil {
		return stock.Receipt{}, err
	}
	receipt := stock.Receipt{OrderNo: r.OrderNo, Strategy: Name, Lines: lines}
	d.place[r.OrderNo] = len(d.accepted)
	d.accepted = append(d.accepted, store.NewReservation{Hash: r.hash, Receipt: receipt})
	return receipt, nil
}

// reconsider answers refused orders that the ledger has from the ledger: a repeat of the order that got the last unit
// gets its receipt and not "sold out". It reads under the stock row locks: before them, another instance may have been
// about to reserve the same order.
func (d *decisions) reconsider(b store.Bulk, refused reserveCalls) error {
	if len(refused) == 0 {
		return nil
	}
	if err := d.learn(b, refused); err != nil {
		return err
	}
	for _, c := range refused {
		if h, known := d.known[c.Item.OrderNo]; known {
			c.Answer(d.replay(c.Item, h))
		}
	}
	return nil
}

func (d *decisions) replay(r reserveCall, h store.Header) (stock.Receipt, error) {
	switch {
	case h.Status == stock.Released || h.Status == stock.Void:
		return stock.Receipt{}, stock.ErrClosed
	case !h.IsFor(r.Request):
		return stock.Receipt{}, stock.ErrMismatch
	}
	return d.replays[r.OrderNo], nil
}

// isFor reports whether the receipt is for the lines of the request.
func isFor(receipt stock.Receipt, r stock.Request) bool {
	return slices.EqualFunc(receipt.Lines, r.Lines, func(a stock.ReceiptLine, b stock.Line) bool {
		return a.SKU == b.SKU && a.Quantity == b.Quantity
	})
}
