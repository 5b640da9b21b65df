package history

import (
	"math"
	"slices"
	"time"

	"holdfast/order-srv/check"
)

// What can happen to the counter of one SKU. Each event happened at one moment between start and end, and we do not know
// which.
type eventKind int

const (
	take   eventKind = iota // n units were reserved
	give                    // n units came back
	refuse                  // somebody was told that n units are not there
)

type event struct {
	kind       eventKind
	n          int64
	start, end int64  // nanoseconds
	who        string // for people
}

// Bounds of events that may have happened at any time.
const (
	always = math.MinInt64
	never  = math.MaxInt64
)

// stale is how old the availability may be by which order-srv refuses an order without asking inventory. Such a refusal names
// no order, as there is none.
const stale = 200 * time.Millisecond

// counters checks invariant 4 for each SKU, and invariant 3 at every moment.
//
// Whether an ambiguous call took units is not guessed: its reservation says so at the end. What stays open is when.
func (w *world) counters() {
	events := w.takesAndGives()
	for _, g := range w.wishes {
		for _, r := range g.refusals {
			w.refusal(g, r, events)
		}
	}
	for _, s := range w.skus {
		w.counter(s, events[s.SKU])
	}
}

// takesAndGives reads the reservations: each that ever held units took them while its client waited, and a released one
// gave them back later.
func (w *world) takesAndGives() map[string][]event {
	events := map[string][]event{}
	for no, r := range w.reservations {
		if r.Status != reserved && r.Status != confirmed && r.Status != released {
			continue // a tombstone never held anything
		}
		o := w.orders[no]
		took := event{kind: take, start: always, end: never, who: no}
		g := w.wishes[name{o.User, o.Key}]
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

// givenBack is when the units of an order that ended may have come back: not before it was asked for, where somebody
// asked, and no later than the shop was found at rest, when we know that the end came before.
func (w *world) givenBack(o check.Order, g *wish, took event) event {
	back := event{give, took.n, took.start, never, took.who}
	var over time.Time
	switch c := w.cancelled[o.OrderNo]; {
	case o.Status == cancelled && !c.begun.IsZero():
		back.start, over = c.begun.UnixNano(), c.done
	case (o.Status == rejected || o.Status == abandoned) && g != nil && !g.unknown:
		over = g.heard // no shop at rest has an undecided order
	}
	if over.IsZero() { // expired, for instance: it may have been long after
		return back
	}
	if i := slices.IndexFunc(w.atRest, func(t time.Time) bool { return t.After(over) }); i >= 0 {
		back.end = w.atRest[i].UnixNano()
	}
	return back
}

// refusal adds what a refusal claims. It names its short lines, all of which were short at one moment; if it does not,
// some line was, and only an order of one line can be pinned down.
func (w *world) refusal(g *wish, r Call, events map[string][]event) {
	e := event{kind: refuse, start: g.start.UnixNano(), end: r.End.UnixNano(), who: g.String()}
	if r.OrderNo == "" { // nothing is stored, so it is about no call but this one
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
			w.violation(6, g.String(), "was refused for %s, which it did not ask for", sku)
			continue
		}
		e.n = n
		events[sku] = append(events[sku], e)
	}
}

// unnamed checks that at least one line can have been short.
func (w *world) unnamed(g *wish, e event, skus []string, events map[string][]event) {
	for _, sku := range skus {
		e.n = g.lines[sku]
		if least(w.inbound(sku), e, events[sku]) < e.n {
			return
		}
	}
	w.violation(4, g.String(), "was refused, though every line could be served: %v", g.lines)
}

func (w *world) inbound(sku string) int64 {
	if i := slices.IndexFunc(w.skus, func(s check.SKU) bool { return s.SKU == sku }); i >= 0 {
		return w.skus[i].Inbound
	}
	return 0
}

// counter looks for a moment for each event. Two quick looks name the order that is wrong and are all that is needed as
// long as nothing comes back; with give-backs the moments depend on each other, and a search has to find them.
func (w *world) counter(s check.SKU, events []event) {
	wrong := len(w.found.Violations)
	w.neverOversold(s, events)
	for _, e := range events {
		if e.kind != refuse {
			continue
		}
		if free := least(s.Inbound, e, events); free >= e.n {
			w.violation(4, e.who, "was refused %d of %s, though at least %d were free all the while", e.n, s.SKU, free)
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

// neverOversold looks at each moment at which another take must have happened: what was certainly taken by then must have
// been there, or can have come back.
func (w *world) neverOversold(s check.SKU, events []event) {
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
			w.violation(3, s.SKU, "when %s was answered, %d units were promised; %d came in and at most %d came back", t.who, taken, s.Inbound, back)
			return
		}
	}
}

// least is how many units were certainly free during all of r: as if everybody who asked before its end had been served
// first, and only what must have come back before its start was back.
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
