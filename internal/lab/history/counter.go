package history

import (
	"math"
	"slices"
	"time"

	"holdfast/order-srv/check"
)

// An eventKind is a change of one SKU's counter, or a statement about it. Each event happened at one unknown moment
// between start and end.
type eventKind int

const (
	take   eventKind = iota // n units were reserved
	give                    // n units were returned
	refuse                  // a client got the answer that n units are not available
)

type event struct {
	kind       eventKind
	n          int64
	start, end int64  // nanoseconds
	source     string // order or request, for messages
}

// Bounds of events that may have happened at any time.
const (
	always = math.MinInt64
	never  = math.MaxInt64
)

// stale is the maximum age of the availability that order-srv uses to refuse an order without calling inventory. Such
// a refusal names no order, because order-srv inserts none.
const stale = 200 * time.Millisecond

// counters checks invariant 4 for each SKU, and invariant 3 at every moment.
//
// Whether an ambiguous call took units is not guessed: its reservation shows it. Only the moment is unknown.
func (w *checkRun) counters() {
	events := w.takesAndGives()
	for _, g := range w.requests {
		for _, r := range g.refusals {
			w.refusal(g, r, events)
		}
	}
	for _, s := range w.skus {
		w.counter(s, events[s.SKU])
	}
}

// takesAndGives converts the reservations to events. Each reservation that ever held units took them during its
// client's call, and a released one returned them later.
func (w *checkRun) takesAndGives() map[string][]event {
	events := map[string][]event{}
	for no, r := range w.reservations {
		if r.Status != reserved && r.Status != confirmed && r.Status != released {
			continue // a tombstone never held anything
		}
		o := w.orders[no]
		took := event{kind: take, start: always, end: never, source: no}
		g := w.requests[name{o.User, o.Key}]
		if g != nil {
			took.start = g.start.UnixNano()
			if slices.Contains(g.placed, no) {
				took.end = g.granted.UnixNano()
			}
		}
		for sku, n := range r.Lines {
			took.n = n
			events[sku] = append(events[sku], took)
			if r.Status == released {
				events[sku] = append(events[sku], w.givenBack(o, g, took))
			}
		}
	}
	return events
}

// givenBack returns the interval in which an ended order returned its units. It starts when the end was requested, if
// a client requested it. It ends when the shop was found at rest after the order had certainly ended.
func (w *checkRun) givenBack(o check.Order, g *request, took event) event {
	back := event{give, took.n, took.start, never, took.source}
	var ended time.Time
	switch c := w.cancelled[o.OrderNo]; {
	case o.Status == cancelled && !c.begun.IsZero():
		back.start, ended = c.begun.UnixNano(), c.done
	case (o.Status == rejected || o.Status == abandoned) && g != nil && !g.unknown:
		ended = g.lastEnd // a shop at rest has no undecided order
	}
	if ended.IsZero() { // for instance an expired order: it may have ended much later
		return back
	}
	if i := slices.IndexFunc(w.atRest, func(t time.Time) bool { return t.After(ended) }); i >= 0 {
		back.end = w.atRest[i].UnixNano()
	}
	return back
}

// refusal adds the events of a refusal. All SKUs that it names were short at one moment. If it names none, at least
// one line was short, which gives an event only for an order of one line.
func (w *checkRun) refusal(g *request, r Call, events map[string][]event) {
	e := event{kind: refuse, start: g.start.UnixNano(), end: r.End.UnixNano(), source: g.String()}
	if r.OrderNo == "" { // no answer was stored, so the refusal concerns this call only
		e.start = r.Start.Add(-stale).UnixNano()
	}
	claims := r.Short
	if len(claims) == 0 {
		for sku := range g.lines {
			claims = append(claims, sku)
		}
		if len(claims) > 1 {
			w.unnamed(g, e, claims, events)
			return
		}
	}
	for _, sku := range claims {
		n, ordered := g.lines[sku]
		if !ordered {
			w.violation(6, g.String(), "was refused for %s, which it did not order", sku)
			continue
		}
		e.n = n
		events[sku] = append(events[sku], e)
	}
}

// unnamed checks that at least one line can have been short.
func (w *checkRun) unnamed(g *request, e event, skus []string, events map[string][]event) {
	for _, sku := range skus {
		e.n = g.lines[sku]
		if least(w.inbound(sku), e, events[sku]) < e.n {
			return
		}
	}
	w.violation(4, g.String(), "was refused, though every line could be served: %v", g.lines)
}

func (w *checkRun) inbound(sku string) int64 {
	if i := slices.IndexFunc(w.skus, func(s check.SKU) bool { return s.SKU == sku }); i >= 0 {
		return w.skus[i].Inbound
	}
	return 0
}

// counter looks for a moment for each event. Two quick checks find the order that is wrong; they are sufficient as
// long as no units are returned. With returned units the moments depend on each other, and a search has to find them.
func (w *checkRun) counter(s check.SKU, events []event) {
	wrong := len(w.found.Violations)
	w.neverOversold(s, events)
	for _, e := range events {
		if e.kind != refuse {
			continue
		}
		if free := least(s.Inbound, e, events); free >= e.n {
			w.violation(4, e.source, "was refused %d of %s, though at least %d were free during the whole call", e.n, s.SKU, free)
		}
	}
	gives := slices.ContainsFunc(events, func(e event) bool { return e.kind == give })
	if !gives || len(w.found.Violations) > wrong {
		return
	}
	w.found.Searched++
	switch search(s.Inbound, events) {
	case refuted:
		w.violation(4, s.SKU, "no order of %s explains the answers", describe(events))
	case undecided:
		w.found.Undecided = append(w.found.Undecided, s.SKU+": too many possible orders of "+describe(events))
	}
}

// neverOversold checks each moment by which another take had certainly happened. The units certainly taken by then
// must not exceed the inbound units plus the units that may have been returned.
func (w *checkRun) neverOversold(s check.SKU, events []event) {
	for _, t := range events {
		if t.kind != take || t.end == never {
			continue
		}
		taken, back := int64(0), int64(0)
		for _, e := range events {
			switch {
			case e.kind == take && e.end <= t.end:
				taken += e.n
			case e.kind == give && e.start <= t.end:
				back += e.n
			}
		}
		if taken > s.Inbound+back {
			w.violation(3, s.SKU, "when %s was answered, %d units were promised; %d came in and at most %d were returned", t.source, taken, s.Inbound, back)
			return
		}
	}
}

// least returns how many units were certainly free during all of r. It assumes that every client that called before
// r's end was served first, and that only units certainly returned before r's start were free again.
func least(inbound int64, r event, events []event) int64 {
	free := inbound
	for _, e := range events {
		switch {
		case e.kind == take && e.start <= r.end:
			free -= e.n
		case e.kind == give && e.end <= r.start:
			free += e.n
		}
	}
	return free
}
