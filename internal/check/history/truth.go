package history

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"holdfast/internal/check"
)

// The statuses and codes that matter here; see package check for why they are repeated.
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

// name is by what a client knows its order before it has a number.
type name struct{ user, key string }

func (n name) String() string { return n.user + "/" + n.key }

// wish is everything that was asked and answered under one name: clients repeat a call whose answer was lost.
type wish struct {
	name
	lines   map[string]int64
	short   []string
	start   time.Time // of the first call: nothing can have happened before
	heard   time.Time // when the last answer came, or the client gave up
	granted time.Time // when a 201 came first; zero if never
	refused time.Time // when an out_of_stock came first
	code    string    // of a refusal
	numbers []string  // that answers named
	later   bool
	unknown bool // some answer never came
	allNo   bool // every answer was a definite no
}

// span is from when something was first asked for until it was said to be done; done is zero if it never was.
type span struct{ begun, done time.Time }

// world is one check under way.
type world struct {
	wishes       map[name]*wish
	settling     []Call                   // payments and cancellations
	asked        map[Kind]map[string]bool // by order number: somebody asked for it and was not told no
	cancelled    map[string]span          // when that was a cancellation
	atRest       []time.Time
	orders       map[string]Order
	names        map[name]Order
	reservations map[string]check.Reservation
	skus         []check.SKU
	found        Findings
}

func newWorld(calls []Call, atRest []time.Time, a After) *world {
	w := &world{
		wishes: map[name]*wish{}, asked: map[Kind]map[string]bool{Pay: {}, Cancel: {}}, cancelled: map[string]span{},
		atRest: slices.SortedFunc(slices.Values(atRest), time.Time.Compare), skus: a.SKUs,
		orders: map[string]Order{}, names: map[name]Order{}, reservations: map[string]check.Reservation{},
	}
	for _, o := range a.Orders {
		w.orders[o.OrderNo] = o
		if o.Key != "" {
			w.names[name{o.User, o.Key}] = o
		}
	}
	for _, r := range a.Reservations {
		w.reservations[r.OrderNo] = r
	}
	for _, c := range calls {
		w.take(c)
	}
	return w
}

func (w *world) take(c Call) {
	if c.Kind == Place {
		if c.Code != mismatch { // says nothing about the order of that key
			w.wish(c).hear(c)
		}
		return
	}
	w.settling = append(w.settling, c)
	if c.Answer == No {
		return
	}
	w.asked[c.Kind][c.OrderNo] = true
	if c.Kind == Cancel {
		s := w.cancelled[c.OrderNo]
		s.begun = earlier(s.begun, c.Start)
		if c.Answer == Yes {
			s.done = earlier(s.done, c.End)
		}
		w.cancelled[c.OrderNo] = s
	}
}

func (w *world) wish(c Call) *wish {
	n := name{c.User, c.Key}
	if w.wishes[n] == nil {
		w.wishes[n] = &wish{name: n, lines: c.Lines, start: c.Start, allNo: true}
	}
	return w.wishes[n]
}

func (g *wish) hear(c Call) {
	g.start = earlier(g.start, c.Start)
	if c.End.After(g.heard) {
		g.heard = c.End
	}
	g.allNo = g.allNo && c.Answer == No
	switch c.Answer {
	case Yes:
		g.granted = earlier(g.granted, c.End)
	case Later:
		g.later = true
	case Unknown:
		g.unknown = true
	case No:
		g.code = c.Code
	}
	if c.Answer == No && c.Code == outOfStock {
		g.refused, g.short = earlier(g.refused, c.End), c.Short
	}
	if c.OrderNo != "" && (c.Answer == Yes || c.Answer == Later) && !slices.Contains(g.numbers, c.OrderNo) {
		g.numbers = append(g.numbers, c.OrderNo)
	}
}

// earlier is the earlier of two times, of which the first may be unset.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// placements checks invariant 6 for what was asked under each name.
func (w *world) placements() {
	for _, g := range w.wishes {
		if len(g.numbers) > 1 {
			w.violation(6, g.String(), "one key was answered with the orders %v", g.numbers)
		}
		if !g.granted.IsZero() && !g.refused.IsZero() {
			w.violation(6, g.String(), "was answered 201 and out_of_stock")
		}
		if (!g.granted.IsZero() || g.later) && len(g.numbers) == 0 {
			w.violation(6, g.String(), "was accepted, and the answer names no order")
		}
		for _, no := range g.numbers {
			w.accepted(g, no)
		}
		if g.allNo || !g.refused.IsZero() {
			w.tookNothing(g)
		}
	}
}

// accepted checks an order that an answer named.
func (w *world) accepted(g *wish, no string) {
	o, ok := w.orders[no]
	switch {
	case !ok:
		w.violation(6, no, "was answered to %s, but there is no such order", g)
		return
	case o.User != g.user || o.Key != g.key:
		w.violation(6, no, "was answered to %s, but belongs to %s", g, name{o.User, o.Key})
	case !maps.Equal(o.Lines, g.lines):
		w.violation(6, no, "%s asked for %v, the order says %v", g, g.lines, o.Lines)
	case o.Status == pending:
		w.violation(6, no, "was accepted and is still not decided")
	}
	if g.granted.IsZero() {
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

// tookNothing checks a refusal: there is no order, or one that holds nothing. The units of a late attempt are given back.
func (w *world) tookNothing(g *wish) {
	o, ok := w.names[g.name]
	if !ok {
		return
	}
	if o.Status != rejected && o.Status != abandoned {
		w.violation(6, o.OrderNo, "%s was refused (%s), but the order is %s", g, g.code, o.Status)
	}
	if s := w.reservations[o.OrderNo].Status; s == reserved || s == confirmed {
		w.violation(6, o.OrderNo, "%s was refused (%s), but units are %s", g, g.code, s)
	}
}

// settlements checks invariant 6 for payments and cancellations, and that nothing happened that nobody asked for.
func (w *world) settlements() {
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
		case o.Key == "" && o.Status == rejected: // its key was freed for another try
		case w.wishes[name{o.User, o.Key}] == nil:
			w.violation(6, o.OrderNo, "is %s, and nobody asked for it", o.Status)
		case (o.Status == paid || o.Status == refundDue) && !w.asked[Pay][o.OrderNo]:
			w.violation(6, o.OrderNo, "is %s, and nobody paid it", o.Status)
		case o.Status == cancelled && !w.asked[Cancel][o.OrderNo]:
			w.violation(6, o.OrderNo, "is CANCELLED, and nobody cancelled it")
		}
	}
}

func (w *world) violation(invariant int, subject, format string, args ...any) {
	w.found.Violations = append(w.found.Violations, check.Violation{
		Invariant: invariant, Subject: subject, Text: fmt.Sprintf(format, args...),
	})
}
