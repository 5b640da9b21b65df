// Package history checks what clients were told: it keeps each client's calls and answers, and compares them with both
// ledgers once the shop is at rest. These are the invariants of package check that a ledger alone cannot show:
//
//  4. No undersell: an order that was refused for want of stock could not have been served at any moment while its client
//     waited. A refusal that names no order may come from what order-srv remembers of an earlier one: for that one the
//     client's wait begins 200 ms earlier.
//  6. Every answer is true: 201 is an order that exists and keeps its stock until it is paid, cancelled or expired; a
//     refusal took nothing; 202 is decided in the end; nobody's order was made, paid or cancelled without being asked for.
//
// It sees one oversell, too, that balanced books hide: a unit that two people had at once, one of whom gave it back.
//
// All times are of one clock, all units came in before the first call, and every client of the shop is recorded: an order
// that nobody asked for is a violation.
package history

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"holdfast/order-srv/check"
)

// Kind is what a call asks for.
type Kind string

// The calls that move stock.
const (
	Place  Kind = "place"
	Pay    Kind = "pay"
	Cancel Kind = "cancel"
)

// Answer is what the client may conclude from the answer that it got.
type Answer string

// The answers. No answer at all, and one that does not say whether something was done, are [Unknown].
const (
	Yes     Answer = "yes"     // done: 200, 201
	Later   Answer = "later"   // accepted, not decided yet: 202
	No      Answer = "no"      // refused, and nothing was done
	Unknown Answer = "unknown" // perhaps done
)

// Call is one call of one client, with its answer.
type Call struct {
	Kind    Kind
	User    string
	Key     string           // idempotency key of a Place
	OrderNo string           // which order is paid or cancelled; for a Place what the answer says, if anything, also a refusal
	Lines   map[string]int64 // units by SKU of a Place
	Answer  Answer
	Code    string   // of a No: the machine-readable reason
	Short   []string // of an out_of_stock: the SKUs that it names
	Start   time.Time
	End     time.Time
}

// Answered fills in what the gateway's answer says; err is the failure to get one. The format is read here once more, and
// not with the services' own types: a checker that shared their code would share their mistakes.
func (c *Call) Answered(status int, body []byte, err error) {
	c.Answer = Unknown
	if err != nil {
		return
	}
	var a struct {
		OrderNo   string `json:"order_no"`
		Code      string `json:"code"`
		Ambiguous *bool  `json:"ambiguous"`
		Details   struct {
			OrderNo string `json:"order_no"`
			Short   []struct {
				SKU string `json:"sku"`
			} `json:"short"`
		} `json:"details"`
	}
	if json.Unmarshal(body, &a) != nil {
		return
	}
	switch {
	case status == http.StatusAccepted:
		c.Answer = Later
	case status < http.StatusBadRequest:
		c.Answer = Yes
	case a.Ambiguous != nil && !*a.Ambiguous:
		c.Answer, c.Code, a.OrderNo = No, a.Code, a.Details.OrderNo
		for _, s := range a.Details.Short {
			c.Short = append(c.Short, s.SKU)
		}
	}
	if a.OrderNo != "" {
		c.OrderNo = a.OrderNo
	}
}

// History is what the clients of one shop were told. The zero value is empty and ready; all methods may be called from
// many goroutines.
type History struct {
	mu     sync.Mutex
	calls  []Call
	atRest []time.Time
}

// Add records one call with its answer.
func (h *History) Add(c Call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, c)
}

// AtRest records that an audit begun at this moment found nothing in flight: what was given back before is for sale again.
// Without it a give-back may take for ever, and a refusal after it proves nothing.
func (h *History) AtRest(at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.atRest = append(h.atRest, at)
}

// After is both ledgers at the end, at rest. Orders name their users and their keys, also freed ones.
type After struct {
	Orders       []check.Order
	Reservations []check.Reservation
	SKUs         []check.SKU
}

// Findings is what [History.Check] found.
type Findings struct {
	Violations []check.Violation
	Undecided  []string // histories with too many possible orders of events: neither accepted nor refuted
	Calls      int      // that were judged
	Searched   int      // SKUs whose answers had to be put in an order, because units were given back
}

// Check compares the calls with the ledgers.
func (h *History) Check(a After) Findings {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := newWorld(h.calls, h.atRest, a)
	w.placements()
	w.settlements()
	w.counters()
	w.found.Calls = len(h.calls)
	check.Sort(w.found.Violations)
	return w.found
}
