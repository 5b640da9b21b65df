package groupcommit

import (
	"slices"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// tryEnds confirms or releases all orders of a flush. As in all strategies the headers are locked first and the stock
// rows after them, each in order. All of them are locked before the first write, so that callers can withdraw while the
// flush waits for a lock.
func tryEnds(to stock.Status) try[string, struct{}] {
	return func(a *attempt[string, struct{}]) error {
		a.setAsideKnown()
		known, err := lockHeaders(a)
		if err != nil {
			return err
		}
		a.setAsideFound(known)
		var held []store.Header
		for _, h := range known {
			if h.Status == stock.Reserved && h.Strategy == Name {
				held = append(held, h)
			}
		}
		lines, err := a.bulk.Lines(held)
		if err != nil {
			return err
		}
		if _, err := a.lockRows(func(no string) []stock.Line { return lines[no] }); err != nil {
			return err
		}
		var ending, unknown []string
		for _, c := range a.seal() {
			h, isKnown := known[c.Item]
			err := ends(to, h, isKnown)
			c.Answer(struct{}{}, err)
			switch {
			case err == nil && !isKnown:
				unknown = append(unknown, c.Item)
			case err == nil && h.Status == stock.Reserved:
				ending = append(ending, c.Item)
			}
		}
		if len(ending) == 0 && len(unknown) == 0 {
			return errNothing
		}
		return endAll(a.bulk, to, ending, unknown, lines)
	}
}

func lockHeaders(a *attempt[string, struct{}]) (map[string]store.Header, error) {
	if a.mode == skipping {
		return a.bulk.LockFreeHeaders(a.orderNos(a.calls))
	}
	return a.bulk.LockHeaders(a.orderNos(a.calls))
}

// ends returns the answer to one order: nil also when the order already has the status.
func ends(to stock.Status, h store.Header, known bool) error {
	switch {
	case !known && to == stock.Confirmed:
		return stock.ErrUnknownOrder
	case !known:
		return nil // the tombstone will be written
	case h.Strategy != "" && h.Strategy != Name:
		return &stock.OtherStrategyError{Strategy: h.Strategy}
	case h.Status == stock.Reserved || h.Status == to || h.Status == stock.Void && to == stock.Released:
		return nil
	case to == stock.Confirmed:
		return stock.ErrClosed
	}
	return stock.ErrConfirmed
}

// endAll writes the decisions: tombstones, the new status of headers, and the moves of their units. An order number
// that several callers sent is in ending several times and is ended once.
func endAll(b store.Bulk, to stock.Status, ending, unknown []string, lines map[string][]stock.Line) error {
	if len(unknown) > 0 {
		if err := b.InsertTombstones(unknown); err != nil {
			return err
		}
	}
	if len(ending) == 0 {
		return nil
	}
	ending = slices.Compact(slices.Sorted(slices.Values(ending)))
	if err := b.End(ending, to); err != nil {
		return err
	}
	units := unitsOf(ending, lines)
	if to == stock.Confirmed {
		return b.Shift(units, store.Reserved, store.Sold)
	}
	return b.Shift(units, store.Reserved, store.Available)
}

// unitsOf adds up the lines of the orders by SKU.
func unitsOf(orderNos []string, lines map[string][]stock.Line) map[string]int64 {
	units := map[string]int64{}
	for _, no := range orderNos {
		for _, l := range lines[no] {
			units[l.SKU] += l.Quantity
		}
	}
	return units
}
