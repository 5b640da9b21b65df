// Package walletapi is the typed contract of the wallet: the JSON that crosses HTTP, the faults, and a client. Both
// sides compile against it.
//
// The wallet takes part in orders by three calls. A freeze sets money aside (try), a confirmation pays it (confirm), a
// cancellation returns it (cancel). Each is idempotent by its order number, and they may arrive in any order: the
// network delays, repeats and reorders them.
package walletapi

import (
	"time"

	"holdfast/pkg/fault"
)

// The refusals, for callers that decide by errors.Is. They match faults rebuilt from HTTP answers. After each of them
// nothing was executed.
var (
	ErrInsufficientFunds = fault.New(fault.Conflict, "insufficient_funds", "the wallet has not enough money for the order")
	ErrFreezeClosed      = fault.New(fault.Closed, "freeze_closed", "the order was cancelled, its money can be neither frozen nor paid any more")
	ErrFreezeMismatch    = fault.New(fault.Mismatch, "freeze_mismatch", "this order number was used before with another user or amount")
	ErrFreezeConfirmed   = fault.New(fault.Conflict, "freeze_confirmed", "the order was paid, its money cannot be returned by a cancellation any more")
	ErrFreezeUnpaid      = fault.New(fault.Conflict, "freeze_unpaid", "the order was not paid, there is nothing to refund")
	ErrUnknownFreeze     = fault.New(fault.NotFound, "unknown_freeze", "the wallet has no money of this order")
	ErrInvalidFreeze     = fault.New(fault.Invalid, "invalid_freeze", "an order has a number of 1 to 26 characters and an amount of 0 or more")
	ErrInvalidCredit     = fault.New(fault.Invalid, "invalid_credit", "a credit has 1 to 1000000000000 cents and a reference of 1 to 100 visible ASCII characters")
	ErrCreditMismatch    = fault.New(fault.Mismatch, "credit_mismatch", "this reference was used before for another credit")
)

// The bounds of the contract.
const (
	MaxAmountCents = 1_000_000_000_000 // of a freeze or a credit
	MaxReference   = 100               // characters of a credit's reference
	MaxStates      = 1000              // orders of one StatesRequest
	MaxPage        = 1000              // rows of one page
)

// FreezeRequest is POST /v1/freezes: set money of the user aside for the order.
type FreezeRequest struct {
	OrderNo     string `json:"order_no"`
	UserID      string `json:"user_id"`
	AmountCents int64  `json:"amount_cents"`
}

// CancelRequest is POST /v1/freezes/{order_no}/cancellation. A cancellation that comes before its freeze writes a
// tombstone, which keeps the user and the amount. The amount is 0 when the caller does not know it.
type CancelRequest struct {
	UserID      string `json:"user_id"`
	AmountCents int64  `json:"amount_cents"`
}

// The states of a freeze on the wire.
const (
	StateFrozen    = "frozen"
	StateConfirmed = "confirmed"
	StateCancelled = "cancelled"
	StateVoid      = "void" // the tombstone: cancelled before it was frozen
)

// StatesRequest is POST /v1/freezes/states.
type StatesRequest struct {
	OrderNos []string `json:"order_nos"`
}

// StatesResponse has the freezes of the orders that the wallet knows.
type StatesResponse struct {
	Freezes []Freeze `json:"freezes"`
}

// Freeze is the money of an order.
type Freeze struct {
	OrderNo     string `json:"order_no"`
	UserID      string `json:"user_id"`
	AmountCents int64  `json:"amount_cents"`
	State       string `json:"state"`
	Refunded    bool   `json:"refunded,omitempty"` // a confirmed one: its payment was returned
}

// FreezePage is GET /v1/freezes?after=&limit=: the freezes in state frozen, in order-number order. After is empty on
// the last page.
type FreezePage struct {
	Freezes []Freeze `json:"freezes"`
	After   string   `json:"after,omitempty"`
}

// Wallet is GET /v1/wallets/{user}, and the public GET /v1/wallet.
type Wallet struct {
	UserID         string `json:"user_id"`
	AvailableCents int64  `json:"available_cents"`
	FrozenCents    int64  `json:"frozen_cents"` // for orders that are neither paid nor ended
}

// The kinds of entries.
const (
	KindOpening = "opening" // lab mode only
	KindCredit  = "credit"
	KindPayment = "payment"
	KindRefund  = "refund"
)

// Entry is money that came or went.
type Entry struct {
	ID          int64     `json:"id"`
	Kind        string    `json:"kind"`
	AmountCents int64     `json:"amount_cents"` // negative for a payment
	Reference   string    `json:"reference"`    // the kind, a colon, and the order number or the sender's own name
	CreatedAt   time.Time `json:"created_at"`
}

// EntryPage is GET /v1/wallets/{user}/entries?cursor=&limit=, newest first. NextCursor is empty on the last page.
type EntryPage struct {
	Entries    []Entry `json:"entries"`
	NextCursor string  `json:"next_cursor,omitempty"`
}

// CreditRequest is POST /v1/wallets/{user}/credits. Reference is the sender's own name for the credit: it counts once.
type CreditRequest struct {
	AmountCents int64  `json:"amount_cents"`
	Reference   string `json:"reference"`
}

// Balance is a wallet with the sums that it must agree with, of one consistent snapshot.
type Balance struct {
	UserID         string `json:"user_id"`
	AvailableCents int64  `json:"available_cents"`
	FrozenCents    int64  `json:"frozen_cents"`
	EntriesCents   int64  `json:"entries_cents"` // the sum of all entries
	FreezesCents   int64  `json:"freezes_cents"` // the sum of the freezes in state frozen

	PaidCents      int64 `json:"paid_cents"`      // the entries of payments, less those of refunds
	ConfirmedCents int64 `json:"confirmed_cents"` // the sum of the confirmed freezes that were not refunded
}

// BalancePage is GET /v1/audit?after=&limit=, in the order of the users. After is empty on the last page.
type BalancePage struct {
	Balances []Balance `json:"balances"`
	After    string    `json:"after,omitempty"`
}
