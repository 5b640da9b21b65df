// Package check is the checker. It decides from exported ledgers whether stock was oversold, undersold or lost. It
// calls no service and uses no database, so that tests can plant each violation.
//
// The invariants, by number:
//
//  1. inbound = available + reserved + sold for each SKU, and no counter is below zero.
//  2. reserved = Σ lines of reserved reservations, sold = Σ lines of confirmed ones. Different statements write
//     counters and lines, so this invariant detects a lost update.
//  3. No oversell: Σ lines reserved or confirmed ≤ inbound, and Σ items of PLACED and PAID orders ≤ inbound.
//  5. Orders and reservations agree: a PLACED order has a reserved reservation with the same lines, a PAID order has a
//     confirmed one, an ended order holds no units, and each reservation has an order. An order without a reservation
//     is reported as lost if a loss of Redis names it. Of the orders with one user's idempotency key at most one is
//     neither ABANDONED nor REJECTED. An order that inventory answers by message is PLACED by a receipt and REJECTED by
//     a refusal.
//  7. At rest: no pending order, no PLACED order past its expiry, no final order that inventory has not settled, no
//     unsent message, and no message that was given up: parked in the outbox, or a dead letter.
//  8. The flows' logs and the orders agree: each order in the queue is PENDING, and each row of the coordinator's log
//     is in the state that follows from its order's status.
//  9. For each wallet Σ entries = available + frozen, frozen = Σ freezes in state frozen, and neither is below zero.
//     The entries of payments less those of refunds are Σ confirmed freezes that were not refunded: each counts once.
//  10. The wallet and the coordinator's log agree: what is frozen is the amount of an order whose log is tried,
//     confirming or cancelling; a paid order's money is paid once, and an ended one's is not held.
//  11. No branch of the flow xa stays prepared, and an order of it is PLACED, or was, exactly if its log says commit.
//
// Invariants 4 and 6 need the clients' history of answers. Package history checks them.
//
// A running shop is never at rest, and an audit reads it page by page. A finding that work in flight can explain is
// therefore reported as unsettled. It becomes a fault if it stays.
package check

import (
	"iter"
	"maps"
	"time"
)

// The order statuses that the checker uses. They are deliberately not shared with order-srv: shared code would share
// its mistakes.
const (
	pending   = "PENDING"
	placed    = "PLACED"
	paid      = "PAID"
	rejected  = "REJECTED"
	abandoned = "ABANDONED"
)

// SKU is one line of inventory's ledger. [Run] computes the last two fields, which load tests use for their
// thresholds.
type SKU struct {
	SKU            string `json:"sku"`
	Inbound        int64  `json:"inbound"`
	Available      int64  `json:"available"`
	Reserved       int64  `json:"reserved"`
	Sold           int64  `json:"sold"`
	LinesReserved  int64  `json:"lines_reserved"`
	LinesConfirmed int64  `json:"lines_confirmed"`

	Oversold int64 `json:"oversold_units"` // units promised by reservations or orders beyond the inbound units
	Missing  int64 `json:"missing_units"`  // inbound units that are neither available nor promised
}

// Order is order-srv's record of an order.
type Order struct {
	OrderNo string
	Status  string
	User    string
	Key     string // idempotency key, also one that the order has freed; empty: unknown and not checked by Run
	Freed   bool   // the order has freed its key
	Settled bool   // inventory has been found to agree with the final status
	Lines   map[string]int64
	Answer  Answer // of inventory, when it was asked by message

	ExpiresAt time.Time // by the services' clock; zero: no expiry
}

// Reservation is what inventory holds for an order.
type Reservation struct {
	OrderNo   string
	Status    string // reserved, confirmed, released, void
	CreatedAt time.Time
	Lines     map[string]int64
}

// Input is the data of both services for [Run]. Orders and reservations are sorted by order number. Orders must be read
// before reservations: the reservation of an order that was read is then read too.
type Input struct {
	Started      time.Time // by the services' clock, before the first order was read
	Orders       iter.Seq2[Order, error]
	Reservations iter.Seq2[Reservation, error]
	Ledger       func() (Ledger, error) // read last
	Messages     Messages
	Letters      Letters
	Healed       []Healing // latest actions of the backstops, newest first; copied into the report
}

// Messages counts the messages that have not been delivered yet.
type Messages struct {
	Unsent          int           `json:"unsent"`    // unsent messages in both services' outboxes
	Undecided       int           `json:"undecided"` // half messages without a decision, on the answering replica
	OldestUnsent    time.Duration `json:"oldest_unsent_ns"`
	OldestUndecided time.Duration `json:"oldest_undecided_ns"`
	LateAfter       time.Duration `json:"late_after_ns"` // an older undecided one is a finding
}

// Ledger is inventory's side of the stock.
type Ledger struct {
	SKUs   []SKU  // one consistent snapshot
	Losses []Loss // all recorded losses of Redis
}

// Loss is a loss of operations that Redis had accepted for the strategy redis-lua. It is the only way in which the
// shop may lose an order.
type Loss struct {
	Reason     string    `json:"reason"`
	Operations int64     `json:"operations"` // answered by Redis but never written to MySQL
	Units      int64     `json:"units"`      // units that these operations had taken, less the units they had returned
	NoticedAt  time.Time `json:"noticed_at"`
	Orders     []string  `json:"-"` // orders of the lost reservations; up to 10,000
}

// Notifications counts the best-effort notifications that were not delivered. None of them is a finding.
type Notifications struct {
	Pending int           `json:"pending"`   // to be sent, or being sent
	Failing int           `json:"failing"`   // of those: the last attempt has failed
	Oldest  time.Duration `json:"oldest_ns"` // of those that are pending: since its order was paid
	GivenUp int           `json:"given_up"`
}

// Report is the outcome of an audit.
type Report struct {
	SKUs       []SKU          `json:"skus"`
	Orders     map[string]int `json:"orders"`     // number of orders by status
	Violations []Violation    `json:"violations"` // invariants that are broken; waiting does not help
	Unsettled  []Violation    `json:"unsettled"`  // explained by work in flight; a fault if it stays
	Lost       []Violation    `json:"lost"`       // orders that a loss of Redis names; refunded when paid
	Losses     []Loss         `json:"losses"`     // the losses of Redis
	Unsent     int            `json:"unsent"`
	Messages   Messages       `json:"messages"`
	Unnotified Notifications  `json:"notifications"`
	InDoubt    []InDoubt      `json:"in_doubt,omitempty"` // orders whose phases the coordinator has not ended
	Branches   []Branch       `json:"branches,omitempty"` // of the flow xa, which are prepared
	Healed     []Healing      `json:"healed"`             // latest actions of the backstops, newest first

	Unlisted int  `json:"unlisted,omitempty"` // findings beyond the first MaxFindings of a list
	Full     bool `json:"full"`               // everything was read; else what is rolled up was proven before
}

// MaxFindings bounds each list of findings, so that the memory of an audit is bounded whatever it finds.
const MaxFindings = 10_000

// graceForReports is the time in which a new loss record may still be incomplete: each replica of inventory-srv
// reports its lost operations within seconds.
const graceForReports = 10 * time.Second

// graceForOrphans: a reservation without an order is a fault only if it is older than the audit's start by this much.
// The order of a younger one may have been inserted behind the page that the audit was reading.
const graceForOrphans = 10 * time.Second

// stock checks the SKUs. promised is the number of units that orders promise, by SKU.
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

// ledger checks invariants 1 to 3 on inventory's side. The ledger is one snapshot, so nothing can be in flight.
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

// messages checks invariant 7 for messages in flight. The broker first checks a half message when it is as old as
// transactionTimeOut, and then once per check interval. A half message that two checks have not decided is stuck, or
// one of a large backlog.
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

// join checks invariant 5 for an order and its reservation.
func (r *Report) join(o Order, res Reservation) {
	holds := res.Status == "reserved" || res.Status == "confirmed"
	// An order's lines may be written when it is placed, and not before.
	known := len(o.Lines) > 0 || o.Status == placed || o.Status == paid
	if holds && known && !maps.Equal(o.Lines, res.Lines) {
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
		return // the tombstone of an order that was never inserted holds no units
	}
	if res.CreatedAt.After(started.Add(-graceForOrphans)) {
		r.unsettled(5, ofOrder(res.OrderNo, res.Lines), "holds units, and its order was not seen yet")
		return
	}
	r.violation(5, ofOrder(res.OrderNo, res.Lines), "holds units without an order")
}

// lostOrders are the orders that the losses of Redis name.
type lostOrders struct {
	named    map[string]bool
	reported bool // the last loss is old enough for all reports to be complete
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

// withoutReservation checks a PLACED or PAID order that has no reservation. It returns true if the order is lost: a
// loss of Redis names it, which redis-lua does not promise to prevent, and it holds no units.
func (r *Report) withoutReservation(o Order, lost lostOrders) bool {
	switch {
	case !lost.named[o.OrderNo] && !lost.reported:
		r.unsettled(5, ofOrder(o.OrderNo, o.Lines), "is %s, inventory has no reservation, and Redis has just lost some", o.Status)
		return false
	case !lost.named[o.OrderNo]:
		r.violation(5, ofOrder(o.OrderNo, o.Lines), "is %s, but inventory has no reservation", o.Status)
		return false
	}
	r.list(&r.Lost, finding(5, ofOrder(o.OrderNo, o.Lines), "is %s, but Redis has lost its reservation of %v", o.Status, o.Lines))
	return true
}
