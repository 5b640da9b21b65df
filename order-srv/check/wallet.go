package check

import "time"

// InDoubt is how many orders are in a state of the coordinator's log that is not its last.
type InDoubt struct {
	State  string        `json:"state"`
	Orders int           `json:"orders"`
	Oldest time.Duration `json:"oldest_ns"` // in this state
}

// Wallet is a user's balance with the sums that it must agree with, of one snapshot of the wallet's database.
type Wallet struct {
	User              string
	Available, Frozen int64 // cents
	Entries           int64 // the sum of what came and went
	Freezes           int64 // the sum of what is frozen for orders
	Paid              int64 // what the entries of payments say, less those of refunds
	Confirmed         int64 // the sum of what orders have paid and did not get back
}

// Wallets checks invariant 9.
func (c *Checker) Wallets(wallets []Wallet) {
	for _, w := range wallets {
		c.report.wallet(w)
	}
}

func (r *Report) wallet(w Wallet) {
	of := ofShop("wallet of " + w.User)
	if w.Available < 0 || w.Frozen < 0 {
		r.violation(9, of, "has %d cents available and %d frozen", w.Available, w.Frozen)
	}
	if w.Entries != w.Available+w.Frozen {
		r.violation(9, of, "has entries of %d cents, but %d available + %d frozen", w.Entries, w.Available, w.Frozen)
	}
	if w.Freezes != w.Frozen {
		r.violation(9, of, "has %d cents frozen, but %d frozen for orders", w.Frozen, w.Freezes)
	}
	if w.Paid != w.Confirmed {
		r.violation(9, of, "has entries of %d cents paid for orders, but orders have paid %d", w.Paid, w.Confirmed)
	}
}

// The states of the coordinator's log and of the wallet's freezes that the checker uses, and the last status.
const (
	logTrying     = "trying"
	logTried      = "tried"
	logConfirming = "confirming"
	logCancelling = "cancelling"
	logRefunding  = "refunding"
	logDone       = "done"

	frozen    = "frozen"
	confirmed = "confirmed"
	refundDue = "REFUND_DUE"
)

// Log is a row of the coordinator's log, with its order's status of the same moment.
type Log struct {
	OrderNo, User string
	Amount        int64 // cents
	State         string
	Status        string // of the order; "": there is no order
}

// Freeze is the money of an order, as the wallet has it.
type Freeze struct {
	OrderNo, User string
	Amount        int64 // cents
	State         string
	Refunded      bool
}

// Logs checks invariants 8 and 10 for rows of the coordinator's log. freezes has the money of their orders by order
// number, and was read after the log.
func (c *Checker) Logs(logs []Log, freezes map[string]Freeze) {
	for _, l := range logs {
		f := freezes[l.OrderNo]
		c.report.logged(l)
		c.report.amount(l, f)
		c.report.phase(l, f)
	}
}

// logged compares a row with its order.
func (r *Report) logged(l Log) {
	phase := logCancelling
	switch l.Status {
	case pending:
		phase = logTrying
	case placed:
		phase = logTried
	case paid:
		phase = logConfirming
	case refundDue:
		phase = logRefunding
	}
	open := l.Status == pending || l.Status == placed
	of := ofOrder(l.OrderNo, nil)
	switch {
	case l.State == phase || l.State == logDone && !open && l.Status != "":
	case !open && l.Status != "" && (l.State == logTrying || l.State == logTried):
		// A replica that did not know the flow has ended the order. The coordinator follows.
		r.unsettled(8, of, "is %s, and the coordinator's log says %s", l.Status, l.State)
	default:
		r.violation(8, of, "is %s, and the coordinator's log says %s", l.Status, l.State)
	}
}

// amount compares user and amount. A tombstone may not know the amount, and a row has it once the order is PLACED.
func (r *Report) amount(l Log, f Freeze) {
	if f.State == "" || f.User == l.User && (f.Amount == l.Amount || f.State == "void" || l.Amount == 0) {
		return
	}
	r.violation(10, ofOrder(l.OrderNo, nil), "has %d cents of %s in the log and %d cents of %s in the wallet", l.Amount, l.User, f.Amount, f.User)
}

// phase compares a row with the order's money. A phase that is not done is in flight: it is reported as unsettled, and
// becomes a fault if it stays.
func (r *Report) phase(l Log, f Freeze) {
	of := ofOrder(l.OrderNo, nil)
	switch {
	case l.State == logDone:
		r.done(l, f)
	case l.State == logTrying && f.State != confirmed, l.State == logTried && f.State == frozen:
	case l.State == logTried && (f.State == confirmed || f.State == "cancelled"):
		// The order may have ended since the log was read.
		r.unsettled(10, of, "was tried when read, and its money is %s", f.State)
	case l.State == logConfirming && (f.State == frozen || f.State == confirmed), l.State == logCancelling && f.State != confirmed,
		l.State == logRefunding && (f.State == frozen || f.State == confirmed):
		r.unsettled(10, of, "is %s, and its money is %s", l.State, f.inWords())
	default:
		r.violation(10, of, "is %s, and its money is %s", l.State, f.inWords())
	}
}

func (f Freeze) inWords() string {
	switch {
	case f.State == "":
		return "not in the wallet"
	case f.Refunded:
		return "refunded"
	}
	return f.State
}

// done checks a row whose last phase has ended.
func (r *Report) done(l Log, f Freeze) {
	ok := f.State != frozen && f.State != confirmed
	switch l.Status {
	case paid:
		ok = f.State == confirmed // a refunded one has become REFUND_DUE since the log was read
	case refundDue:
		ok = f.State == confirmed && f.Refunded
	}
	switch {
	case !ok:
		r.violation(10, ofOrder(l.OrderNo, nil), "is %s, the coordinator has ended it, and its money is %s", l.Status, f.inWords())
	case l.Status == paid && f.Refunded:
		r.unsettled(10, ofOrder(l.OrderNo, nil), "was PAID when read, and its money is refunded")
	}
}

// Frozen checks that frozen money belongs to orders of the coordinator's log. logs has the rows of these orders, and
// was read after the freezes: the row of an order is written before its money is frozen.
func (c *Checker) Frozen(freezes []Freeze, logs map[string]Log) {
	for _, f := range freezes {
		if _, known := logs[f.OrderNo]; !known {
			c.report.violation(10, ofOrder(f.OrderNo, nil), "has %d cents of %s frozen, and is not in the coordinator's log", f.Amount, f.User)
		}
	}
}

// WalletAway reports that the wallet could not be read: what it must agree with was not checked.
func (c *Checker) WalletAway(err error) {
	c.report.unsettled(10, ofShop("wallet"), "cannot be read: %v", err)
}
