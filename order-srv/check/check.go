// Package check is the checker: it decides from exported ledgers alone whether stock was oversold, undersold or lost.
// It asks no service and knows no database, so that it can be tested by planting each violation.
//
// The invariants, by number:
//
//  1. inbound = available + reserved + sold for each SKU, and no counter is below zero.
//  2. reserved = Σ lines of reserved reservations, sold = Σ lines of confirmed ones. Counters and lines are written by
//     different statements, so this is what catches a lost update.
//  3. No oversell: Σ lines reserved or confirmed ≤ inbound, and Σ items of PLACED and PAID orders ≤ inbound.
//  5. Orders and reservations agree: PLACED has a reserved reservation with the same lines, PAID a confirmed one, an
//     order that ended holds nothing, and no reservation is without its order. An order without a reservation is
//     reported as lost if a loss of Redis names it. Of the orders with one user's idempotency key at most one is
//     neither ABANDONED nor REJECTED.
//  7. At rest: no pending order, no PLACED order past its expiry, no final order that inventory has not settled, no
//     unsent message, and none that was given up: parked in the outbox, or a dead letter.
//
// Invariants 4 and 6 need the clients' own history of answers: package history checks them.
//
// A running shop is never at rest, and an audit reads it page by page. So a finding that work in flight explains is
// reported as unsettled; it becomes a fault when it does not go away.
package check

import (
	"fmt"
	"iter"
	"maps"
	"time"
)

// The order statuses that matter here. They repeat order-srv's on purpose: a checker that shared its code would share
// its mistakes.
const (
	pending   = "PENDING"
	placed    = "PLACED"
	paid      = "PAID"
	rejected  = "REJECTED"
	abandoned = "ABANDONED"
)

// SKU is one line of inventory's ledger. [Run] adds the last two figures, on which load tests set their thresholds.
type SKU struct {
	SKU            string `json:"sku"`
	Inbound        int64  `json:"inbound"`
	Available      int64  `json:"available"`
	Reserved       int64  `json:"reserved"`
	Sold           int64  `json:"sold"`
	LinesReserved  int64  `json:"lines_reserved"`
	LinesConfirmed int64  `json:"lines_confirmed"`

	Oversold int64 `json:"oversold_units"` // promised, by reservations or by orders, beyond what came in
	Missing  int64 `json:"missing_units"`  // came in, and are neither for sale nor promised to anybody
}

// Order is what order-srv knows of an order.
type Order struct {
	OrderNo string
	Status  string
	User    string
	Key     string // idempotency key, also one that the order has freed; empty: unknown, and not checked
	Settled bool   // inventory is known to agree with a final status
	Lines   map[string]int64

	ExpiresAt time.Time // by the services' clock; zero: never
}

// name is by what a client knows its order.
type name struct{ user, key string }

// Reservation is what inventory holds for an order.
type Reservation struct {
	OrderNo   string
	Status    string // reserved, confirmed, released, void
	CreatedAt time.Time
	Lines     map[string]int64
}

// Input is both sides. Orders and reservations come in order-number order; orders are to be read before reservations,
// so that an order which is seen has its reservation seen too.
type Input struct {
	Started      time.Time // by the services' clock, before the first order was read
	Orders       iter.Seq2[Order, error]
	Reservations iter.Seq2[Reservation, error]
	Ledger       func() (Ledger, error) // taken last
	Messages     Messages
	Letters      Letters
	Healed       []Healing // what the backstops did, newest first; passed on
}

// Messages is what has not been delivered yet.
type Messages struct {
	Unsent          int           `json:"unsent"`    // messages that the outbox has to send
	Undecided       int           `json:"undecided"` // half messages, of the replica that runs the audit
	OldestUnsent    time.Duration `json:"oldest_unsent_ns"`
	OldestUndecided time.Duration `json:"oldest_undecided_ns"`
	LateAfter       time.Duration `json:"late_after_ns"` // an older undecided one is a finding
}

// Ledger is inventory's side of the stock.
type Ledger struct {
	SKUs   []SKU  // one consistent snapshot
	Losses []Loss // what Redis has lost, ever
}

// Loss is Redis having lost what it had promised for the strategy redis-lua: the one way in which this shop may lose an
// order.
type Loss struct {
	Reason     string    `json:"reason"`
	Operations int64     `json:"operations"` // answered by Redis and never heard of by MySQL
	Units      int64     `json:"units"`      // that those had taken, less what they had given back
	NoticedAt  time.Time `json:"noticed_at"`
	Orders     []string  `json:"-"` // whose reservations are lost; may be ten thousand
}

// Report is the outcome of an audit.
type Report struct {
	SKUs       []SKU          `json:"skus"`
	Orders     map[string]int `json:"orders"`     // number of orders by status
	Violations []Violation    `json:"violations"` // something is wrong, and waiting will not mend it
	Unsettled  []Violation    `json:"unsettled"`  // work in flight explains it; a fault if it stays
	Lost       []Violation    `json:"lost"`       // named by a loss of Redis: refunded when paid
	Losses     []Loss         `json:"losses"`     // those accidents
	Unsent     int            `json:"unsent"`
	Messages   Messages       `json:"messages"`
	Healed     []Healing      `json:"healed"` // what the backstops did last, newest first
}

// graceForReports is for how long after a loss its record may not name all orders yet: each replica of inventory-srv
// reports those that it had answered, within seconds.
const graceForReports = 10 * time.Second

// graceForOrphans is how much younger than the audit's start a reservation without an order must be to be a fault: its
// order may have been inserted behind the page that the audit was reading.
const graceForOrphans = 10 * time.Second

// Run reads both sides and checks them. Its error is a failure to look, never a violation.
func Run(in Input) (Report, error) {
	r := Report{Orders: map[string]int{}, Violations: []Violation{}, Unsettled: []Violation{}, Lost: []Violation{}, Losses: []Loss{}, Unsent: in.Messages.Unsent, Messages: in.Messages, Healed: in.Healed}
	promised := map[string]int64{}
	orders := map[string]Order{}
	byKey := map[name]Order{}
	for o, err := range in.Orders {
		if err != nil {
			return Report{}, fmt.Errorf("read the orders: %w", err)
		}
		orders[o.OrderNo] = o
		r.Orders[o.Status]++
		if o.Status == placed || o.Status == paid {
			for sku, n := range o.Lines {
				promised[sku] += n
			}
		}
		r.atRest(o, in.Started)
		r.oneForEachKey(o, byKey)
	}
	r.letters(in.Letters, orders)
	for res, err := range in.Reservations {
		if err != nil {
			return Report{}, fmt.Errorf("read the reservations: %w", err)
		}
		o, known := orders[res.OrderNo]
		delete(orders, res.OrderNo)
		if known {
			r.join(o, res)
		} else {
			r.orphan(res, in.Started)
		}
	}
	ledger, err := in.Ledger()
	if err != nil {
		return Report{}, fmt.Errorf("read the ledger: %w", err)
	}
	r.SKUs, r.Losses = ledger.SKUs, append(r.Losses, ledger.Losses...)
	lost := newLostOrders(ledger.Losses, in.Started)
	for _, o := range orders {
		if r.withoutReservation(o, lost) {
			for sku, n := range o.Lines { // nothing is promised any more
				promised[sku] -= n
			}
		}
	}
	r.stock(promised)
	r.messages(in.Messages)
	Sort(r.Violations)
	Sort(r.Unsettled)
	Sort(r.Lost)
	return r, nil
}

// stock checks the SKUs against the units that orders promise.
func (r *Report) stock(promised map[string]int64) {
	for i, s := range r.SKUs {
		lines := s.LinesReserved + s.LinesConfirmed
		r.SKUs[i].Oversold = max(0, max(lines, promised[s.SKU])-s.Inbound)
		r.SKUs[i].Missing = max(0, s.Inbound-s.Available-lines)
		r.ledger(s)
		if n := promised[s.SKU]; n > s.Inbound {
			r.unsettled(3, ofSKU(s.SKU), "orders promise %d units, only %d ever came in", n, s.Inbound)
		}
		delete(promised, s.SKU)
	}
	for sku, n := range promised {
		if n == 0 {
			continue
		}
		r.violation(3, ofSKU(sku), "orders promise %d units of a SKU that inventory does not have", n)
	}
}

// ledger checks invariants 1 to 3 from inventory's side: one snapshot, so nothing here can be in flight.
func (r *Report) ledger(s SKU) {
	if s.Available < 0 || s.Reserved < 0 || s.Sold < 0 {
		r.violation(1, ofSKU(s.SKU), "a counter is below zero: available %d, reserved %d, sold %d", s.Available, s.Reserved, s.Sold)
	}
	if sum := s.Available + s.Reserved + s.Sold; sum != s.Inbound {
		r.violation(1, ofSKU(s.SKU), "inbound %d, but available %d + reserved %d + sold %d = %d", s.Inbound, s.Available, s.Reserved, s.Sold, sum)
	}
	if s.Reserved != s.LinesReserved {
		r.violation(2, ofSKU(s.SKU), "the counter says %d reserved, the reservations' lines say %d", s.Reserved, s.LinesReserved)
	}
	if s.Sold != s.LinesConfirmed {
		r.violation(2, ofSKU(s.SKU), "the counter says %d sold, the reservations' lines say %d", s.Sold, s.LinesConfirmed)
	}
	if promised := s.LinesReserved + s.LinesConfirmed; promised > s.Inbound {
		r.violation(3, ofSKU(s.SKU), "oversold: %d units promised, only %d ever came in", promised, s.Inbound)
	}
}

// messages checks invariant 7 for what is on its way. The broker asks about a half message once it is as old as the
// broker's time-out, and again in every interval: one that two questions have not decided is stuck, or one of very
// many.
func (r *Report) messages(m Messages) {
	if m.Unsent > 0 {
		r.unsettled(7, ofShop("outbox"), "%d messages are not sent, the oldest for %v", m.Unsent, m.OldestUnsent.Round(time.Millisecond))
	}
	if m.Undecided > 0 && m.OldestUndecided > m.LateAfter {
		r.unsettled(7, ofShop("half messages"), "%d are undecided, the oldest for %v", m.Undecided, m.OldestUndecided.Round(time.Millisecond))
	}
}

// atRest checks invariant 7 for one order.
func (r *Report) atRest(o Order, started time.Time) {
	switch {
	case o.Status == placed && !o.ExpiresAt.IsZero() && o.ExpiresAt.Before(started):
		r.unsettled(7, ofOrder(o.OrderNo, o.Lines), "is PLACED, and its time to pay ended at %s", o.ExpiresAt.Format(time.RFC3339))
	case o.Status == pending:
		r.unsettled(7, ofOrder(o.OrderNo, o.Lines), "is still pending")
	case o.Status != placed && !o.Settled:
		r.unsettled(7, ofOrder(o.OrderNo, o.Lines), "is %s, and inventory is not known to agree", o.Status)
	}
}

// oneForEachKey checks invariant 5 for the orders of one key. byKey holds those that were read before. An order that
// was PENDING when it was read may have been abandoned since, which freed its key for the other one.
func (r *Report) oneForEachKey(o Order, byKey map[name]Order) {
	if o.Key == "" || o.Status == rejected || o.Status == abandoned {
		return
	}
	n := name{o.User, o.Key}
	first, twice := byKey[n]
	if !twice || first.Status == pending {
		byKey[n] = Order{OrderNo: o.OrderNo, Status: o.Status}
	}
	switch {
	case !twice:
	case first.Status == pending || o.Status == pending:
		r.unsettled(5, ofOrder(o.OrderNo, o.Lines), "is %s, and %s with the same idempotency key was %s when read", o.Status, first.OrderNo, first.Status)
	default:
		r.violation(5, ofOrder(o.OrderNo, o.Lines), "is %s, and so is %s with the same idempotency key (%s)", o.Status, first.OrderNo, first.Status)
	}
}

// join checks invariant 5 for an order and its reservation.
func (r *Report) join(o Order, res Reservation) {
	holds := res.Status == "reserved" || res.Status == "confirmed"
	if holds && !maps.Equal(o.Lines, res.Lines) {
		r.violation(5, ofOrder(o.OrderNo, o.Lines), "ordered %v, but %v is held", o.Lines, res.Lines)
	}
	switch o.Status {
	case pending:
	case placed:
		switch res.Status {
		case "void":
			r.violation(5, ofOrder(o.OrderNo, o.Lines), "is PLACED, but its reservation is a tombstone")
		case "confirmed", "released":
			r.unsettled(5, ofOrder(o.OrderNo, o.Lines), "was PLACED when read, its reservation is %s", res.Status)
		}
	case paid:
		if res.Status != "confirmed" {
			r.unsettled(5, ofOrder(o.OrderNo, o.Lines), "is PAID, but its reservation is %s", res.Status)
		}
	default:
		switch res.Status {
		case "confirmed":
			r.violation(5, ofOrder(o.OrderNo, o.Lines), "is %s, but its units count as sold", o.Status)
		case "reserved":
			r.unsettled(5, ofOrder(o.OrderNo, o.Lines), "is %s, but still holds its units", o.Status)
		}
	}
}

func (r *Report) orphan(res Reservation, started time.Time) {
	if res.Status != "reserved" && res.Status != "confirmed" {
		return // a tombstone of an order that was never inserted holds nothing
	}
	if res.CreatedAt.After(started.Add(-graceForOrphans)) {
		r.unsettled(5, ofOrder(res.OrderNo, res.Lines), "holds units, and its order was not seen yet")
		return
	}
	r.violation(5, ofOrder(res.OrderNo, res.Lines), "holds units without an order")
}

// lostOrders are the orders that losses of Redis name.
type lostOrders struct {
	named    map[string]bool
	reported bool // the last loss is long enough ago for all reports to be there
}

func newLostOrders(losses []Loss, started time.Time) lostOrders {
	l := lostOrders{named: map[string]bool{}, reported: true}
	for _, loss := range losses {
		for _, no := range loss.Orders {
			l.named[no] = true
		}
		if loss.NoticedAt.After(started.Add(-graceForReports)) {
			l.reported = false
		}
	}
	return l
}

// withoutReservation judges an order that inventory does not know. It returns true when the order is lost: a loss of
// Redis names it, which the strategy redis-lua does not promise to prevent, and it holds nothing.
func (r *Report) withoutReservation(o Order, lost lostOrders) bool {
	switch {
	case o.Status != placed && o.Status != paid:
		return false
	case !lost.named[o.OrderNo] && !lost.reported:
		r.unsettled(5, ofOrder(o.OrderNo, o.Lines), "is %s, inventory has no reservation, and Redis has just lost some", o.Status)
		return false
	case !lost.named[o.OrderNo]:
		r.violation(5, ofOrder(o.OrderNo, o.Lines), "is %s, but inventory has no reservation", o.Status)
		return false
	}
	r.Lost = append(r.Lost, finding(5, ofOrder(o.OrderNo, o.Lines), "is %s, but Redis has lost its reservation of %v", o.Status, o.Lines))
	return true
}
