package history

import (
	"slices"
	"time"

	"holdfast/order-srv/check"
)

// name identifies a client's order before the client knows its number.
type name struct{ user, key string }

func (n name) String() string { return n.user + "/" + n.key }

// request is all calls and answers of one key: clients retry a call whose answer was lost.
type request struct {
	name
	lines    map[string]int64
	start    time.Time // start of the first call
	lastEnd  time.Time // end of the last call
	granted  time.Time // end of the first call with a 201; zero if there was none
	placed   []string  // the orders that a 201 named
	numbers  []string  // the orders that a 201 or a 202 named
	refusals []Call    // out_of_stock answers; those that name the same order are merged
	code     string    // code of a definite refusal
	later    bool
	unknown  bool // some answer is missing or ambiguous
	allNo    bool // every answer is a definite refusal
}

// span is the time from the first request of a change to its confirmation; done is zero if it was never confirmed.
type span struct{ begun, done time.Time }

// checkRun is the state of one check.
type checkRun struct {
	requests     map[name]*request
	settling     []Call                   // payments and cancellations
	asked        map[Kind]map[string]bool // by order number: a client requested the change and was not refused
	cancelled    map[string]span          // by order number: the requested cancellation
	atRest       []time.Time
	orders       map[string]check.Order
	names        map[name][]check.Order
	reservations map[string]check.Reservation
	skus         []check.SKU
	found        Findings
}

func newCheckRun(calls []Call, atRest []time.Time, a After) *checkRun {
	w := &checkRun{
		requests: map[name]*request{}, asked: map[Kind]map[string]bool{Pay: {}, Cancel: {}}, cancelled: map[string]span{},
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

func (w *checkRun) take(c Call) {
	if c.Kind == Place {
		if c.Code != mismatch { // a mismatch says nothing about the order of that key
			w.request(c).record(c)
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

func (w *checkRun) request(c Call) *request {
	n := name{c.User, c.Key}
	if w.requests[n] == nil {
		w.requests[n] = &request{name: n, lines: c.Lines, start: c.Start, allNo: true}
	}
	return w.requests[n]
}

func (g *request) record(c Call) {
	g.start = earlier(g.start, c.Start)
	if c.End.After(g.lastEnd) {
		g.lastEnd = c.End
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

// refuse adds a refusal. A stored refusal is repeated with its order's number. Its moment was during the first call
// that received it, or before.
func (g *request) refuse(c Call) {
	i := slices.IndexFunc(g.refusals, func(r Call) bool { return c.OrderNo != "" && r.OrderNo == c.OrderNo })
	if i < 0 {
		g.refusals = append(g.refusals, c)
		return
	}
	g.refusals[i].Start = earlier(g.refusals[i].Start, c.Start)
	g.refusals[i].End = earlier(g.refusals[i].End, c.End)
}

// with returns the list with the order number added, unless it is empty or already in the list.
func with(list []string, orderNo string) []string {
	if orderNo == "" || slices.Contains(list, orderNo) {
		return list
	}
	return append(list, orderNo)
}

// earlier returns the earlier of two times; a may be zero.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
