package history

import (
	"slices"
	"time"

	"holdfast/order-srv/check"
)

// name is by what a client knows its order before it has a number.
type name struct{ user, key string }

func (n name) String() string { return n.user + "/" + n.key }

// wish is everything that was asked and answered under one name: clients repeat a call whose answer was lost.
type wish struct {
	name
	lines    map[string]int64
	start    time.Time // of the first call: nothing can have happened before
	heard    time.Time // when the last answer came, or the client gave up
	granted  time.Time // when a 201 came first; zero if never
	placed   []string  // the orders that a 201 named
	numbers  []string  // the orders that a 201 or a 202 named
	refusals []Call    // for want of stock; those that name one order are one answer, repeated
	code     string    // of a definite no
	later    bool
	unknown  bool // some answer never came
	allNo    bool // every answer was a definite no
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
	orders       map[string]check.Order
	names        map[name][]check.Order
	reservations map[string]check.Reservation
	skus         []check.SKU
	found        Findings
}

func newWorld(calls []Call, atRest []time.Time, a After) *world {
	w := &world{
		wishes: map[name]*wish{}, asked: map[Kind]map[string]bool{Pay: {}, Cancel: {}}, cancelled: map[string]span{},
		atRest: slices.SortedFunc(slices.Values(atRest), time.Time.Compare), skus: a.SKUs,
		orders: map[string]check.Order{}, names: map[name][]check.Order{}, reservations: map[string]check.Reservation{},
	}
	for _, o := range a.Orders {
		w.orders[o.OrderNo] = o
		if o.Key != "" {
			n := name{o.User, o.Key}
			w.names[n] = append(w.names[n], o)
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
		g.placed = with(g.placed, c.OrderNo)
		g.numbers = with(g.numbers, c.OrderNo)
	case Later:
		g.later = true
		g.numbers = with(g.numbers, c.OrderNo)
	case Unknown:
		g.unknown = true
	case No:
		g.code = c.Code
		if c.Code == outOfStock {
			g.refuse(c)
		}
	}
}

// refuse adds a refusal. A stored one is repeated under its order's number: its moment was during the first call that got it,
// or before.
func (g *wish) refuse(c Call) {
	i := slices.IndexFunc(g.refusals, func(r Call) bool { return c.OrderNo != "" && r.OrderNo == c.OrderNo })
	if i < 0 {
		g.refusals = append(g.refusals, c)
		return
	}
	g.refusals[i].Start = earlier(g.refusals[i].Start, c.Start)
	g.refusals[i].End = earlier(g.refusals[i].End, c.End)
}

// with is list with an order number, once; without one it is list.
func with(list []string, orderNo string) []string {
	if orderNo == "" || slices.Contains(list, orderNo) {
		return list
	}
	return append(list, orderNo)
}

// earlier is the earlier of two times, of which the first may be unset.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
