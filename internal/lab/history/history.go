// Package history checks the answers that clients received. It records each client's calls and answers, and compares
// them with both ledgers when the shop is at rest. It checks the invariants of package check that a ledger alone
// cannot show:
//
//  4. No undersell: an order that was refused as out of stock could not have been served at any moment of its client's
//     call. A refusal that names no order may use an availability that order-srv read earlier; its call is treated as
//     if it had begun 200 ms earlier.
//
// 6. Every answer is true: 201 means an order that exists and keeps its stock until it is paid, cancelled or expired;
// a
//
//	refusal took no units; 202 is decided in the end; no order was placed, paid or cancelled without a request.
//
// It also detects an oversell that balanced ledgers hide: two clients held one unit at the same time, and one of them
// returned it.
//
// All times are of one clock, all units came in before the first call, and every client of the shop is recorded: an
// order without a recorded request is a violation.
package history

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"holdfast/order-srv/check"
)

// Kind is the kind of a call.
type Kind string

// The calls that move stock.
const (
	Place  Kind = "place"
	Pay    Kind = "pay"
	Cancel Kind = "cancel"
)

// Answer is the meaning of an answer for the client.
type Answer string

// The answers. [Unknown] is a missing answer, or one that does not say whether the call was executed.
const (
	Yes     Answer = "yes"     // done: 200, 201
	Later   Answer = "later"   // accepted but not decided: 202
	No      Answer = "no"      // refused, and nothing was done
	Unknown Answer = "unknown" // possibly executed
)

// Call is one call of one client, with its answer.
type Call struct {
	Kind    Kind
	User    string
	Key     string           // idempotency key of a Place
	OrderNo string           // the order to pay or cancel; for a Place the order that the answer names, also in a refusal
	Lines   map[string]int64 // units by SKU of a Place
	Answer  Answer
	Code    string   // of a No: the machine-readable code
	Short   []string // of an out_of_stock: the SKUs that it names
	Start   time.Time
	End     time.Time
}

// Answered sets the answer from the gateway's response; err means that there was none. It parses the format itself
// instead of using the services' types: a checker that shared their code would share their mistakes.
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

// History records the calls of one shop's clients. The zero value is ready to use; all methods are safe for concurrent
// use.
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

// AtRest records that an audit that began at this moment found nothing in flight: units returned before it were
// available again. Without this, units may be returned at any later time, and a refusal proves nothing.
func (h *History) AtRest(at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.atRest = append(h.atRest, at)
}

// After holds both ledgers at the end, at rest. Orders have their users and keys, including freed keys.
type After struct {
	Orders       []check.Order
	Reservations []check.Reservation
	SKUs         []check.SKU
}

// Findings is the result of [History.Check].
type Findings struct {
	Violations []check.Violation
	Undecided  []string // SKUs with too many possible orders of events: neither accepted nor refuted
	Calls      int      // number of checked calls
	Searched   int      // SKUs that needed a search, because units were returned
}

// Check compares the calls with the ledgers.
func (h *History) Check(a After) Findings {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := newCheckRun(h.calls, h.atRest, a)
	w.placements()
	w.settlements()
	w.counters()
	w.found.Calls = len(h.calls)
	check.Sort(w.found.Violations)
	return w.found
}
