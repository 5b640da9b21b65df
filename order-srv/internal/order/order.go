// Package order is order-srv's domain: the order, its status machine and what can be wrong with an order. It knows
// neither SQL nor HTTP nor the broker.
package order

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/pkg/fault"
)

// Status of an order. See CanBecome for the machine.
type Status string

// An order begins as Pending. Placed holds stock until it is paid, cancelled or expires.
const (
	Pending   Status = "PENDING"
	Placed    Status = "PLACED"
	Rejected  Status = "REJECTED"  // definite refusal: sold out, unknown SKU, …; the reason is kept
	Abandoned Status = "ABANDONED" // its placing died; stock is given back if any was taken
	Paid      Status = "PAID"
	Cancelled Status = "CANCELLED" // by the buyer
	Expired   Status = "EXPIRED"   // not paid in time
	RefundDue Status = "REFUND_DUE"
)

// Statuses returns all of them.
func Statuses() []Status {
	return []Status{Pending, Placed, Rejected, Abandoned, Paid, Cancelled, Expired, RefundDue}
}

// CanBecome is the whole status machine.
func (s Status) CanBecome(next Status) bool {
	switch s {
	case Pending:
		return slices.Contains([]Status{Placed, Rejected, Abandoned}, next)
	case Placed:
		return slices.Contains([]Status{Paid, Cancelled, Expired}, next)
	case Paid:
		return next == RefundDue // its confirm was refused
	default:
		return false
	}
}

// HoldsNothing reports whether inventory must hold nothing for an order in this status.
func (s Status) HoldsNothing() bool {
	return slices.Contains([]Status{Rejected, Abandoned, Cancelled, Expired, RefundDue}, s)
}

// Item is a line of an order. Title and price come with inventory's receipt, when the order is placed.
type Item struct {
	SKU            string
	Title          string
	Quantity       int64
	UnitPriceCents int64
}

// Order is an order as its row tells it.
type Order struct {
	OrderNo        string
	GroupID        string // the orders that share one half message
	RequestID      string // of the request that is placing it; not stored
	UserID         string
	IdempotencyKey string // empty: freed
	FreedKey       string // the key that the order had until it was abandoned or rejected without a stored answer
	RequestHash    string // in hex; of a stored order it may be the first half
	ResponseStatus int    // 0: no answer stored yet
	ResponseBody   []byte
	Status         Status
	Reason         string // a fault code
	AmountCents    int64
	Flow           string
	Strategy       string // asked for, empty being inventory's own; once PLACED the one that reserved
	Items          []Item // in SKU order
	CreatedAt      time.Time
	UpdatedAt      time.Time
	ExpiresAt      time.Time // zero unless PLACED once
	PaidAt         time.Time
	SettledAt      time.Time
}

// WhenPlaced is an order that was PLACED, as it was then: what it has since got is left out. So the answer that its
// buyer got is made again, and not stored.
func (o Order) WhenPlaced() Order {
	o.Status, o.Reason, o.PaidAt = Placed, "", time.Time{}
	return o
}

// digestSize is how many bytes of the hash of a request are stored.
const digestSize = 16

// RequestDigest is what is stored of the hash of the order's request: its first half, in hexadecimal.
func (o Order) RequestDigest() (string, error) {
	hash, err := hex.DecodeString(o.RequestHash)
	if err == nil && len(hash) < digestSize {
		err = errors.New("it is too short")
	}
	if err != nil {
		return "", fmt.Errorf("read the hash of the request: %w", err)
	}
	return o.RequestHash[:2*digestSize], nil
}

// Repeats reports whether the order has the same request as a stored one.
func (o Order) Repeats(stored Order) bool {
	return len(stored.RequestHash) >= 2*digestSize && strings.HasPrefix(o.RequestHash, stored.RequestHash)
}

// What can be wrong with an order.
var (
	ErrNotFound           = fault.New(fault.NotFound, "unknown_order", "no such order")
	ErrUnknownAudit       = fault.New(fault.NotFound, "unknown_audit", "no such audit, or it ended long ago")
	ErrAuditRunning       = fault.New(fault.Timeout, "audit_running", "the audit goes on; get its result later by its id").NotExecuted()
	ErrAuditFailed        = fault.New(fault.Unavailable, "audit_failed", "the audit could not read both ledgers").NotExecuted()
	ErrNotPending         = fault.New(fault.Conflict, "order_ended", "the order was ended while it was being placed; retry with the same idempotency key")
	ErrNotPayable         = fault.New(fault.Conflict, "not_payable", "only a placed order that has not expired can be paid")
	ErrNotCancellable     = fault.New(fault.Conflict, "not_cancellable", "only a placed order can be cancelled")
	ErrIdempotency        = fault.New(fault.Mismatch, "idempotency_mismatch", "this idempotency key was used before with another payload")
	ErrInvalidKey         = fault.New(fault.Invalid, "invalid_idempotency_key", "an idempotency key has 1 to 255 visible ASCII characters")
	ErrMissingKey         = fault.New(fault.Invalid, "missing_idempotency_key", "the Idempotency-Key header is required")
	ErrBrokerUnavailable  = fault.New(fault.Unavailable, "broker_unavailable", "the message broker does not answer; nothing was ordered").NotExecuted()
	ErrInvalidUser        = fault.New(fault.Invalid, "invalid_user", "a user has 1 to 64 of A-Z a-z 0-9 . _ @ -")
	ErrStrategyNotAllowed = fault.New(fault.Forbidden, "strategy_not_allowed", "an order may choose its strategy only in lab mode")
	ErrFlowNotAllowed     = fault.New(fault.Forbidden, "flow_not_allowed", "an order may choose its flow only in lab mode")
	ErrUnknownFlow        = fault.New(fault.Invalid, "unknown_flow", "no such flow")
)
