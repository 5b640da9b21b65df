package strategy

import (
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/batch"
)

// reserveCall is a request with its lines in SKU order, and its hash.
type reserveCall struct {
	stock.Request
	hash string
}

// tryReserves decides and writes all orders of a flush. This is the one place that reads stock before it writes the
// header, which would otherwise have to be deleted again for each refusal; the header's primary key still decides
// between two instances that reserve one order.
func tryReserves(tx *gorm.DB, b store.Bulk, calls []*batch.Call[reserveCall, stock.Receipt],
	seal func() []*batch.Call[reserveCall, stock.Receipt],
) error {
	d, err := prepare(tx, b, calls)
	if err != nil {
		return err
	}
	for _, c := range seal() { // first come, first served
		c.Answer(d.decide(c.Item))
	}
	if len(d.accepted) == 0 {
		return errNothing
	}
	if err := b.Insert(d.accepted); err != nil {
		return err
	}
	return shift(tx, d.stock.taken(), "available", "reserved")
}

// decisions is what is known when a flush decides, and what it has decided.
type decisions struct {
	known    map[string]store.Header
	replays  map[string]stock.Receipt // of known orders
	stock    counters
	accepted []store.NewReservation
	place    map[string]int // of an order in accepted
}

// prepare reads what was reserved before and locks the stock of all orders that were not.
func prepare(tx *gorm.DB, b store.Bulk, calls []*batch.Call[reserveCall, stock.Receipt]) (*decisions, error) {
	d := &decisions{place: make(map[string]int, len(calls))}
	orderNos := make([]string, len(calls))
	for i, c := range calls {
		orderNos[i] = c.Item.OrderNo
	}
	var err error
	if d.known, err = b.Headers(orderNos); err != nil {
		return nil, err
	}
	var held []store.Header
	for _, h := range d.known {
		if h.Status == stock.Reserved || h.Status == stock.Confirmed {
			held = append(held, h)
		}
	}
	if d.replays, err = b.Receipts(held); err != nil {
		return nil, err
	}
	wanted := counters{}
	for _, c := range calls {
		if _, known := d.known[c.Item.OrderNo]; !known {
			wanted.want(c.Item.Lines)
		}
	}
	d.stock = wanted
	return d, wanted.lock(tx)
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
	receipt := stock.Receipt{OrderNo: r.OrderNo, Strategy: groupCommit, Lines: lines}
	d.place[r.OrderNo] = len(d.accepted)
	d.accepted = append(d.accepted, store.NewReservation{Hash: r.hash, Receipt: receipt})
	return receipt, nil
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
