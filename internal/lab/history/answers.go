package history

import (
	"fmt"
	"maps"
	"slices"

	"holdfast/order-srv/check"
)

// The statuses and codes that the check uses. Package check explains why they are not shared with the services.
const (
	pending   = "PENDING"
	placed    = "PLACED"
	paid      = "PAID"
	refundDue = "REFUND_DUE"
	cancelled = "CANCELLED"
	expired   = "EXPIRED"
	rejected  = "REJECTED"
	abandoned = "ABANDONED"

	reserved  = "reserved"
	confirmed = "confirmed"
	released  = "released"

	outOfStock = "out_of_stock"
	mismatch   = "idempotency_mismatch"
)

// placements checks invariant 6 for the calls and answers of each idempotency key.
func (w *checkRun) placements() {
	for _, g := range w.requests {
		w.oneOrder(g)
		if (!g.granted.IsZero() || g.later) && len(g.numbers) == 0 {
			w.violation(6, g.String(), "was accepted, and the answer names no order")
		}
		for _, no := range g.numbers {
			w.accepted(g, no)
		}
		if g.allNo {
			for _, o := range w.names[g.name] {
				w.tookNothing(g, o)
			}
			continue
		}
		for _, r := range g.refusals {
			if o, ok := w.orders[r.OrderNo]; ok {
				w.tookNothing(g, o)
			}
		}
	}
}

// oneOrder checks that all answers of one key name one order. Orders that ended without an answer do not count: an
// abandoned or rejected order may have freed its key. A refused key may be used again, but not a placed one.
func (w *checkRun) oneOrder(g *request) {
	var live []string
	for _, no := range g.numbers {
		if s := w.orders[no].Status; s != rejected && s != abandoned {
			live = append(live, no)
		}
	}
	if len(live) > 1 {
		w.violation(6, g.String(), "one key was answered with the orders %v", live)
	}
	for _, r := range g.refusals {
		if !g.granted.IsZero() && r.Start.After(g.granted) {
			w.violation(6, g.String(), "was answered 201 and then out_of_stock")
			return
		}
	}
}

// accepted checks an order that an answer named.
func (w *checkRun) accepted(g *request, no string) {
	o, ok := w.orders[no]
	switch {
	case !ok:
		w.violation(6, no, "was answered to %s, but there is no such order", g)
		return
	case o.User != g.user || o.Key != g.key:
		w.violation(6, no, "was answered to %s, but belongs to %s", g, name{o.User, o.Key})
	case o.Status == abandoned && len(o.Lines) == 0: // tx-message writes items with the outcome, and there was none
	case !maps.Equal(o.Lines, g.lines):
		w.violation(6, no, "%s asked for %v, the order says %v", g, g.lines, o.Lines)
	case o.Status == pending:
		w.violation(6, no, "was accepted and is still not decided")
	}
	if !slices.Contains(g.placed, no) {
		return
	}
	var held string
	switch o.Status {
	case placed:
		held = reserved
	case paid:
		held = confirmed
	case refundDue, cancelled, expired:
		return
	default:
		w.violation(6, no, "was answered 201, but is %s", o.Status)
		return
	}
	if status := w.reservations[no].Status; status != held {
		w.violation(6, no, "was answered 201 and is %s, but its stock is %s", o.Status, orNothing(status))
	}
}

func orNothing(status string) string {
	if status == "" {
		return "not reserved"
	}
	return status
}

// tookNothing checks the order of a refusal: it holds no units. A late attempt's units are returned.
func (w *checkRun) tookNothing(g *request, o check.Order) {
	if o.Status != rejected && o.Status != abandoned {
		w.violation(6, o.OrderNo, "%s was refused (%s), but the order is %s", g, g.code, o.Status)
	}
	if s := w.reservations[o.OrderNo].Status; s == reserved || s == confirmed {
		w.violation(6, o.OrderNo, "%s was refused (%s), but units are %s", g, g.code, s)
	}
}

// settlements checks invariant 6 for payments and cancellations, and that every change was requested.
func (w *checkRun) settlements() {
	for _, c := range w.settling {
		s := w.orders[c.OrderNo].Status
		switch {
		case c.Answer != Yes:
		case c.Kind == Pay && s != paid && s != refundDue:
			w.violation(6, c.OrderNo, "its payment was accepted, but it is %s", s)
		case c.Kind == Cancel && s != cancelled:
			w.violation(6, c.OrderNo, "its cancellation was accepted, but it is %s", s)
		}
	}
	for _, o := range w.orders {
		switch {
		case o.Key == "" && o.Status == rejected: // its key was freed for a retry
		case w.requests[name{o.User, o.Key}] == nil:
			w.violation(6, o.OrderNo, "is %s, but no client requested it", o.Status)
		case (o.Status == paid || o.Status == refundDue) && !w.asked[Pay][o.OrderNo]:
			w.violation(6, o.OrderNo, "is %s, but no client paid it", o.Status)
		case o.Status == cancelled && !w.asked[Cancel][o.OrderNo]:
			w.violation(6, o.OrderNo, "is CANCELLED, but no client cancelled it")
		}
	}
}

func (w *checkRun) violation(invariant int, subject, format string, args ...any) {
	w.found.Violations = append(w.found.Violations, check.Violation{
		Invariant: invariant, Subject: subject, Text: fmt.Sprintf(format, args...),
	})
}
