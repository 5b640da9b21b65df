package stock

import (
	"errors"

	"holdfast/pkg/fault"
)

// The faults of the domain. A refusal is definite: nothing was taken. ErrContended is definite too, and may be retried.
var (
	ErrOutOfStock     = fault.New(fault.Conflict, "out_of_stock", "not enough stock")
	ErrUnknownSKU     = fault.New(fault.NotFound, "unknown_sku", "no such product")
	ErrInvalidLines   = fault.New(fault.Invalid, "invalid_lines", "the order's lines are not valid")
	ErrInvalidOrderNo = fault.New(fault.Invalid, "invalid_order_no", "an order number has 1 to 26 characters")
	ErrMismatch       = fault.New(fault.Mismatch, "mismatch", "this order number was used before with other lines")
	ErrClosed         = fault.New(fault.Closed, "closed", "the order was released and cannot be reserved or confirmed any more")
	ErrConfirmed      = fault.New(fault.Conflict, "confirmed", "the order was confirmed and cannot be released any more")
	ErrUnknownOrder   = fault.New(fault.NotFound, "unknown_order", "no such reservation")
	ErrStockLost      = fault.New(fault.NotFound, "stock_lost", "no such reservation; Redis has lost some that it had promised")
	ErrContended      = fault.New(fault.Contended, "contended", "too much contention on this stock, retry")
	ErrStaleFence     = fault.New(fault.Contended, "stale_fence", "a newer holder of the lock was here, retry")
	ErrWrongLayout    = fault.New(fault.Conflict, "wrong_layout", "this strategy does not fit the way the stock is stored")

	ErrLabOnly = fault.New(fault.Conflict, "lab_only", "this strategy loses updates and works only on products that were created for the lab")

	ErrSKUExists         = fault.New(fault.Conflict, "sku_exists", "this SKU exists with another title, price or lab mark")
	ErrLabNotAllowed     = fault.New(fault.Forbidden, "lab_not_allowed", "a product may be created for the lab only in lab mode")
	ErrReferenceMismatch = fault.New(fault.Mismatch, "reference_mismatch", "this reference was used before for another inbound")
	ErrInvalidProduct    = fault.New(fault.Invalid, "invalid_product", "the product is not valid")
	ErrInvalidInbound    = fault.New(fault.Invalid, "invalid_inbound", "the inbound is not valid")
	ErrInvalidLayout     = fault.New(fault.Invalid, "invalid_layout", "stock cannot be stored that way")
	ErrTooYoung          = fault.New(fault.Invalid, "too_young", "reservations of this age are not archived")
	ErrAuditTimeout      = fault.New(fault.Timeout, "audit_timeout", "the ledger could not be read in time").NotExecuted()
	ErrUnknownStrategy   = fault.New(fault.Invalid, "unknown_strategy", "no such strategy")
)

// ShortLine is what ErrOutOfStock's details hold under "short": a line that did not fit.
type ShortLine struct {
	SKU       string `json:"sku"`
	Requested int64  `json:"requested"`
	Available int64  `json:"available"`
	Lab       bool   `json:"lab,omitempty"` // created for the lab: order-srv does not refuse by its memory of it
}

// OutOfStock returns ErrOutOfStock that names the short lines.
func OutOfStock(short []ShortLine) error { return ErrOutOfStock.With("short", short) }

// OtherStrategyError refuses to confirm or release an order that another strategy has reserved and has to end.
type OtherStrategyError struct{ Strategy string }

// Error implements error.
func (e *OtherStrategyError) Error() string {
	return "the order was reserved by the strategy " + e.Strategy
}

// ErrInconsistent is a statement that did not change the row that it should have changed: the ledger and the counters
// disagree. Callers receive an opaque internal fault; the log has the cause.
var ErrInconsistent = errors.New("the ledger is inconsistent")

// UnknownSKU returns ErrUnknownSKU that names the SKU.
func UnknownSKU(sku string) error { return ErrUnknownSKU.With("sku", sku) }

// WrongLayout returns the refusal of a SKU whose layout is not the strategy's: ErrWrongLayout, or, while the SKU moves,
// ErrContended.
func WrongLayout(sku, layout string) error {
	if layout == LayoutMoving {
		return ErrContended.WithText("%s is being moved to another layout, retry", sku)
	}
	return ErrWrongLayout.With("sku", sku)
}
