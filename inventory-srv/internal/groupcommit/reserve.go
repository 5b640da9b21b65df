package groupcommit

import (
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/batch"
	"holdfast/pkg/database"
)

// reserveCall is a request with its lines in SKU order, and its hash.
type reserveCall struct {
	stock.Request
	hash string
}

// reserveCalls are calls of one flush.
type reserveCalls = []*batch.Call[reserveCall, stock.Receipt]

// wary is for how many flushes known orders are looked for at the start, after one flush has met a known order only when
// it inserted it. Repeats come in storms, and a flush that has to begin again costs twice.
const wary = 64

// tryReserves decides and writes all orders of a flush. This is the one place that reads stock before it writes the
// header, which would otherwise have to be deleted again for each refusal. The header's primary key decides all the same:
// as a rule known orders are not looked for first, since the insert finds them.
func (s *Reserver) tryReserves(a *attempt[reserveCall, stock.Receipt]) error {
	d := &decisions{known: map[string]store.Header{}, place: make(map[string]int, len(a.calls))}
	a.setAsideKnown()
	if a.mode == skipping || s.wary.Add(-1) >= 0 {
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
	if err := d.reconsider(a.bulk, refused); err != nil {
		return err
	}
	if len(d.accepted) == 0 {
		return errNothing
	}
	err = a.bulk.Insert(d.accepted)
	if database.IsDuplicate(err) {
		s.wary.Store(wary)
	}
	if err != nil {
		return err
	}
	return a.bulk.Shift(d.stock.taken(), store.Available, store.Reserved)
}

// decisions is what is known when a flush decides, and what it has decided.
type decisions struct {
	known    map[string]store.Header
	replays  map[string]stock.Receipt // of known orders
	stock    counters
	accepted []store.NewReservation
	place    map[string]int // of an order in accepted
}

// learn reads what the ledger knows of the calls' orders.
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

// decide answers one order as if those before it in the flush had been committed.
func (d *decisions) decide(r reserveCall) (stock.Receipt, error) {
	if h, known := d.known[r.OrderNo]; known {
		return d.replay(r, h)
	}
	if i, known := d.place[r.OrderNo]; known {
		if d.accepted[i].Hash != r.hash {
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

// reconsider answers refused orders that are known after all from the ledger: an order that got the last unit is told so,
// and not that it is sold out. It looks under the lock of the stock rows, for before it the same order may have been about
// to take that unit through another instance.
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
	case h.RequestHash != r.hash:
		return stock.Receipt{}, stock.ErrMismatch
	}
	return d.replays[r.OrderNo], nil
}
