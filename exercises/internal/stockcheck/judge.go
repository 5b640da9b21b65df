package stockcheck

import (
	"errors"
	"maps"
	"slices"

	"holdfast/exercises/internal/explore"
	"holdfast/internal/lab/step"
)

// The findings that the checks share, when no more can be said about the mistake.
const (
	NothingTaken = "nothing-taken"    // an order was accepted without a statement that takes units
	Oversold     = "oversold"         // more units were sold than there were
	Mismatch     = "mismatch"         // the stock row and the orders disagree
	HalfOrder    = "half-order"       // of an order, a part is stored
	InVain       = "refused-in-vain"  // an order was refused although there was enough
	Failed       = "unexpected-error" // an order got an error that is no refusal
)

// NothingTaken returns the finding about code that accepts orders and takes nothing.
func (o *Outcome) NothingTaken() *explore.Finding {
	for _, s := range o.Run.Steps {
		if s.Kind == explore.Write || s.Died {
			return nil
		}
	}
	for _, a := range o.Answers {
		if a.Accepted() {
			sku := a.Order.Lines[0].SKU
			return &explore.Finding{
				ID:   NothingTaken,
				What: step.T("stock.nothing-taken", a.Buyer, o.list(a.Order), sku, o.Left[sku]),
				Why:  step.T("stock.nothing-taken.why"), Do: step.T("stock.nothing-taken.do"),
			}
		}
	}
	return nil
}

// list returns an order's lines: "2 × mug and 1 × pen".
func (o *Outcome) list(order Order) step.Text {
	var all []step.Text
	for _, l := range order.Lines {
		all = append(all, step.T("stock.line", l.Qty, l.SKU))
	}
	return join("stock.and", all)
}

// join nests texts in a text with two placeholders.
func join(key string, texts []step.Text) step.Text {
	if len(texts) == 0 {
		return step.T("stock.nothing")
	}
	all := texts[len(texts)-1]
	for _, t := range slices.Backward(texts[:len(texts)-1]) {
		all = step.T(key, t, all)
	}
	return all
}

// Failed returns the finding about an error that is no refusal.
func (o *Outcome) Failed() *explore.Finding {
	for _, a := range o.Answers {
		if a.Err == nil || o.isRefusal(a.Err) {
			continue
		}
		return &explore.Finding{
			ID: Failed, What: step.T("stock.failed", a.Buyer, o.list(a.Order), a.Err),
			Why: o.failedStep(a.Buyer), Do: step.T("stock.failed.do"),
		}
	}
	return nil
}

// failedStep says which of the buyer's statements got an error.
func (o *Outcome) failedStep(buyer string) step.Text {
	for i, s := range o.Run.Steps {
		if s.Actor == buyer && s.Failed {
			return step.T("stock.failed.step", i+1, s.Result)
		}
	}
	return step.T("stock.failed.own")
}

func (o *Outcome) isRefusal(err error) bool {
	return slices.ContainsFunc(o.Refusals, func(refusal error) bool { return errors.Is(err, refusal) })
}

// Counted returns the finding about units that are sold twice or lost: the fallback of every diagnosis. The caller
// replaces what it can say better.
func (o *Outcome) Counted() *explore.Finding {
	for _, sku := range o.SKUs() {
		held := o.Sold(sku)
		if o.Reserved != nil {
			held = o.held(sku)
		}
		switch had, left := o.Stock[sku], o.Left[sku]; {
		case max(held, o.Sold(sku)) > had:
			return &explore.Finding{
				ID: Oversold, What: step.T("stock.oversold", max(held, o.Sold(sku)), sku, had, left, o.orders()),
				Why: o.story(sku), Do: step.T("stock.oversold.do"),
			}
		case left != had-held:
			return &explore.Finding{
				ID: Mismatch, What: step.T("stock.mismatch", had, sku, held, left, had-held),
				Why: o.story(sku), Do: step.T("stock.mismatch.do"),
			}
		}
	}
	return nil
}

// orders lists the answers to the buyers.
func (o *Outcome) orders() step.Text {
	var all []step.Text
	for _, a := range o.Answers {
		key := "stock.refused"
		if a.Accepted() {
			key = "stock.accepted"
		}
		all = append(all, step.T(key, a.Buyer, o.list(a.Order)))
	}
	return join("stock.then", all)
}

// HalfOrder returns the finding about an order that is stored in part, or all of it although it was refused, or
// nothing although it was accepted.
func (o *Outcome) HalfOrder() *explore.Finding {
	if o.Reserved == nil {
		return nil
	}
	told := map[string]Answer{}
	for _, a := range o.Answers {
		told[a.Order.No] = a
	}
	for _, b := range o.Buyers {
		for _, order := range b.Orders {
			all, none := true, len(o.Reserved[order.No]) == 0
			for _, l := range order.Lines {
				all = all && o.Reserved[order.No][l.SKU] == wanted(order, l.SKU)
			}
			a, answered := told[order.No]
			var key string
			switch {
			case answered && a.Accepted() && !all:
				key = "stock.half.accepted"
			case answered && !a.Accepted() && !none:
				key = "stock.half.refused"
			case !all && !none:
				key = "stock.half.died"
			default:
				continue
			}
			return &explore.Finding{
				ID: HalfOrder, What: step.T(key, b.Name, o.list(order), o.stored(order.No)),
				Why: o.halfWhy(b.Name), Do: step.T("stock.half.do"),
			}
		}
	}
	return nil
}

func (o *Outcome) stored(orderNo string) step.Text {
	var all []step.Text
	for _, sku := range slices.Sorted(maps.Keys(o.Reserved[orderNo])) {
		all = append(all, step.T("stock.line", o.Reserved[orderNo][sku], sku))
	}
	return join("stock.and", all)
}

// halfWhy names the death, if there was one, and a statement outside of a transaction.
func (o *Outcome) halfWhy(buyer string) step.Text {
	for i, s := range o.Run.Steps {
		if s.Actor == buyer && s.Died {
			return step.T("stock.half.killed", buyer, i+1)
		}
	}
	return step.T("stock.half.why", buyer)
}

// Killed returns the finding about units that a killed buyer has taken without a reservation. Call it before Counted.
func (o *Outcome) Killed() *explore.Finding {
	if !slices.ContainsFunc(o.Run.Steps, func(s explore.Step) bool { return s.Died }) {
		return nil
	}
	f := o.Counted()
	if f == nil {
		return nil
	}
	for _, b := range o.Buyers {
		if errors.Is(o.Run.Errs[b.Name], explore.ErrDied) {
			f.ID, f.Why, f.Do = HalfOrder, o.halfWhy(b.Name), step.T("stock.half.do")
		}
	}
	return f
}

// InVain returns the finding about an order that was refused although there was enough for it all the time. Stock only
// falls, so what is left at the end was there before.
func (o *Outcome) InVain() *explore.Finding {
	for _, a := range o.Answers {
		if a.Accepted() {
			continue
		}
		enough := true
		for _, l := range a.Order.Lines {
			enough = enough && o.Left[l.SKU] >= wanted(a.Order, l.SKU)
		}
		if enough {
			sku := a.Order.Lines[0].SKU
			return &explore.Finding{
				ID: InVain, What: step.T("stock.in-vain", a.Buyer, o.list(a.Order), a.Err, o.Left[sku], sku),
				Why: o.story(sku), Do: step.T("stock.in-vain.do"),
			}
		}
	}
	return nil
}
