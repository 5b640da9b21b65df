package check

import (
	"fmt"
	"maps"
	"time"
)

// Totals are sums over settled history: orders that have ended and whose end inventory has been found to agree with.
type Totals struct {
	Orders   map[string]int   `json:"orders"`   // by status
	Promised map[string]int64 `json:"promised"` // units of PLACED and PAID orders, by SKU
}

// NewTotals returns totals of nothing.
func NewTotals() Totals { return Totals{Orders: map[string]int{}, Promised: map[string]int64{}} }

// Add adds other totals.
func (t Totals) Add(other Totals) {
	for status, n := range other.Orders {
		t.Orders[status] += n
	}
	for sku, n := range other.Promised {
		t.Promised[sku] += n
	}
}

// count counts an order.
func (t Totals) count(o Order) {
	t.Orders[o.Status]++
	if o.Status == placed || o.Status == paid {
		for sku, n := range o.Lines {
			t.Promised[sku] += n
		}
	}
}

// Page is the orders of a range of order numbers, and the reservations of the same range, which were read after the
// orders. Both are sorted by order number.
type Page struct {
	ReadAt       time.Time // by the services' clock, before the orders were read
	Orders       []Order
	Reservations []Reservation

	// SameKey has, for an order whose client has another order with the same idempotency key, the other one.
	SameKey map[string]Order
}

// Checker checks both services' records page by page. Its memory does not grow with the number of orders.
type Checker struct {
	report  Report
	started time.Time
	totals  Totals
	missing []Order // PLACED and PAID orders without a reservation: what Redis has lost is read last
}

// maxMissing bounds Checker.missing. More of them are violations without a look at what Redis has lost.
const maxMissing = MaxFindings

// New returns a checker. started is the time of the services' clock before the first page was read; base are the totals
// of settled history that was proven before, and that is on none of the pages.
func New(started time.Time, base Totals) *Checker {
	c := &Checker{
		report:  Report{Violations: []Violation{}, Unsettled: []Violation{}, Lost: []Violation{}, Losses: []Loss{}},
		started: started, totals: NewTotals(),
	}
	c.totals.Add(base)
	return c
}

// Page checks the next page and returns its totals. settled reports that the page is settled history without a finding.
func (c *Checker) Page(p Page) (sums Totals, settled bool) {
	before := c.findings()
	sums, settled = NewTotals(), true
	reservations := p.Reservations
	for _, o := range p.Orders {
		for len(reservations) > 0 && reservations[0].OrderNo < o.OrderNo {
			c.report.orphan(reservations[0], p.ReadAt)
			reservations = reservations[1:]
		}
		sums.count(o)
		c.report.atRest(o, c.started)
		c.report.answered(o)
		if other, twice := p.SameKey[o.OrderNo]; twice {
			c.report.oneForEachKey(o, other)
		}
		settled = settled && o.final()
		if len(reservations) > 0 && reservations[0].OrderNo == o.OrderNo {
			c.report.join(o, reservations[0])
			reservations = reservations[1:]
			continue
		}
		c.noReservation(o)
	}
	for _, res := range reservations {
		c.report.orphan(res, p.ReadAt)
	}
	c.totals.Add(sums)
	return sums, settled && c.findings() == before
}

// final reports that nothing will change the order: it has ended, inventory agrees, and its idempotency key is its own.
func (o Order) final() bool {
	return o.Status != pending && o.Status != placed && o.Settled && (!o.Freed || o.Status == rejected || o.Status == abandoned)
}

func (c *Checker) noReservation(o Order) {
	switch {
	case o.Status != placed && o.Status != paid:
	case len(c.missing) == maxMissing:
		c.report.violation(5, ofOrder(o.OrderNo, o.Lines), "is %s, but inventory has no reservation", o.Status)
	default:
		c.missing = append(c.missing, o)
	}
}

// findings counts what was found so far.
func (c *Checker) findings() int {
	r := &c.report
	return len(r.Violations) + len(r.Unsettled) + len(c.missing) + r.Unlisted
}

// Last is what is read after the last page.
type Last struct {
	Ledger   Ledger
	Messages Messages
	Letters  Letters
	Healed   []Healing // copied into the report
	InDoubt  []InDoubt // copied into the report
	Strays   []string  // orders that are in the queue and not PENDING

	Unnotified Notifications // copied into the report
}

// Finish checks the rest and returns the report.
func (c *Checker) Finish(in Last) Report {
	r := &c.report
	r.Orders, r.Unsent, r.Messages, r.Healed = c.totals.Orders, in.Messages.Unsent, in.Messages, in.Healed
	r.InDoubt, r.Unnotified = in.InDoubt, in.Unnotified
	r.SKUs, r.Losses = in.Ledger.SKUs, append(r.Losses, in.Ledger.Losses...)
	r.letters(in.Letters)
	promised := maps.Clone(c.totals.Promised)
	lost := newLostOrders(in.Ledger.Losses, c.started)
	for _, o := range c.missing {
		if r.withoutReservation(o, lost) {
			for sku, n := range o.Lines { // a lost order promises no units
				promised[sku] -= n
			}
		}
	}
	r.stock(promised)
	r.messages(in.Messages)
	for _, no := range in.Strays {
		r.violation(8, ofOrder(no, nil), "is in the queue, but not PENDING")
	}
	Sort(r.Violations)
	Sort(r.Unsettled)
	Sort(r.Lost)
	return *r
}

// Run reads both sides and checks them as one page, in memory. An error means that reading failed; violations are in
// the report.
func Run(in Input) (Report, error) {
	c := New(in.Started, Totals{})
	p := Page{ReadAt: in.Started, SameKey: map[string]Order{}}
	byKey := map[name]Order{}
	for o, err := range in.Orders {
		if err != nil {
			return Report{}, fmt.Errorf("read the orders: %w", err)
		}
		p.Orders = append(p.Orders, o)
		if n := (name{o.User, o.Key}); o.Key != "" && o.live() {
			first, twice := byKey[n]
			if twice {
				p.SameKey[o.OrderNo] = first
			}
			if !twice || first.Status == pending {
				byKey[n] = o
			}
		}
	}
	for res, err := range in.Reservations {
		if err != nil {
			return Report{}, fmt.Errorf("read the reservations: %w", err)
		}
		p.Reservations = append(p.Reservations, res)
	}
	c.Page(p)
	ledger, err := in.Ledger()
	if err != nil {
		return Report{}, fmt.Errorf("read the ledger: %w", err)
	}
	r := c.Finish(Last{Ledger: ledger, Messages: in.Messages, Letters: in.Letters, Healed: in.Healed})
	r.Full = true
	return r, nil
}

// name identifies a client's order.
type name struct{ user, key string }

// live reports that the order has or may get what its client asked for.
func (o Order) live() bool { return o.Status != rejected && o.Status != abandoned }

// oneForEachKey checks invariant 5 for two live orders of one idempotency key. One that was PENDING when read may have
// been abandoned since, which freed its key.
func (r *Report) oneForEachKey(o, first Order) {
	if o.Status == pending || first.Status == pending {
		r.unsettled(5, ofOrder(o.OrderNo, o.Lines), "is %s, and %s with the same idempotency key was %s when read", o.Status, first.OrderNo, first.Status)
		return
	}
	r.violation(5, ofOrder(o.OrderNo, o.Lines), "is %s, and so is %s with the same idempotency key (%s)", o.Status, first.OrderNo, first.Status)
}
