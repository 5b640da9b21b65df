// Package orderapi is the typed contract of order-srv: the JSON that crosses HTTP, the events that cross the broker,
// and a client. Both sides compile against it, so they cannot drift apart.
package orderapi

import (
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/check"
	"holdfast/order-srv/internal/order"
)

// The roles of users.
const (
	RoleBuyer = "buyer"
	RoleAdmin = "admin"
)

// The faults that callers decide by.
var (
	ErrNotFound          = order.ErrNotFound
	ErrNotPayable        = order.ErrNotPayable
	ErrNotCancellable    = order.ErrNotCancellable
	ErrIdempotency       = order.ErrIdempotency
	ErrMissingKey        = order.ErrMissingKey
	ErrInvalidKey        = order.ErrInvalidKey
	ErrInvalidUser       = order.ErrInvalidUser
	ErrBrokerUnavailable = order.ErrBrokerUnavailable

	ErrUnknownAudit = order.ErrUnknownAudit
	ErrAuditRunning = order.ErrAuditRunning
	ErrAuditFailed  = order.ErrAuditFailed

	ErrStrategyNotAllowed = order.ErrStrategyNotAllowed
	ErrFlowNotAllowed     = order.ErrFlowNotAllowed
	ErrUnknownFlow        = order.ErrUnknownFlow

	ErrUnknownWebhook      = order.ErrUnknownWebhook
	ErrInvalidWebhook      = order.ErrInvalidWebhook
	ErrWebhookRefused      = order.ErrWebhookRefused
	ErrUnknownNotification = order.ErrUnknownNotification
)

// Item is what is ordered; the answer adds title and price.
type Item struct {
	SKU            string `json:"sku"`
	Quantity       int64  `json:"quantity"`
	Title          string `json:"title,omitempty"`
	UnitPriceCents int64  `json:"unit_price_cents,omitempty"`
}

// PlaceRequest is POST /v1/orders inside. The idempotency key is in the body and not in a header of that name: Go's
// HTTP transport silently re-sends a POST that carries one.
type PlaceRequest struct {
	IdempotencyKey string      `json:"idempotency_key"`
	Items          []PlaceItem `json:"items"`
	Strategy       string      `json:"strategy,omitempty"`
	Flow           string      `json:"flow,omitempty"` // empty: the flow that ORDER_FLOW names
}

// PlaceItem is a line of a PlaceRequest, and of the public POST /v1/orders.
type PlaceItem struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// Order is an order as a client sees it.
type Order struct {
	OrderNo     string     `json:"order_no"`
	Status      string     `json:"status"`
	Reason      string     `json:"reason,omitempty"`
	Strategy    string     `json:"strategy,omitempty"` // that reserved the stock; before that the one asked for
	AmountCents int64      `json:"amount_cents,omitempty"`
	Items       []Item     `json:"items"`
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
	PaidAt      *time.Time `json:"paid_at,omitempty"`
}

// OrderPage is GET /v1/orders?cursor=&limit=, newest first. NextCursor is empty on the last page.
type OrderPage struct {
	Orders     []Order `json:"orders"`
	NextCursor string  `json:"next_cursor,omitempty"`
}

// The statuses on the wire.
const (
	StatusPending   = string(order.Pending)
	StatusPlaced    = string(order.Placed)
	StatusRejected  = string(order.Rejected)
	StatusAbandoned = string(order.Abandoned)
	StatusPaid      = string(order.Paid)
	StatusCancelled = string(order.Cancelled)
	StatusExpired   = string(order.Expired)
	StatusRefundDue = string(order.RefundDue)
)

// Audit is GET /v1/audit: both ledgers joined and checked.
type Audit = check.Report

// AuditRequest is POST /v1/audits. Full proves settled history again, which an earlier audit has proven.
type AuditRequest struct {
	Full bool `json:"full,omitempty"`
}

// AuditJob is an audit that was requested, as POST /v1/audits and GET /v1/audits/{id} answer it.
type AuditJob struct {
	ID            string     `json:"id"`
	State         string     `json:"state"` // queued, running, done, failed
	Full          bool       `json:"full"`  // as requested
	OrdersChecked int64      `json:"orders_checked"`
	ReachedOrder  string     `json:"reached_order,omitempty"` // the last of them
	RequestedAt   time.Time  `json:"requested_at"`
	StartedAt     *time.Time `json:"started_at,omitempty"`
	EndedAt       *time.Time `json:"ended_at,omitempty"`
	Failure       string     `json:"failure,omitempty"`
	Report        *Audit     `json:"report,omitempty"` // when it is done
}

// The states of an AuditJob that has ended.
const (
	AuditDone   = "done"
	AuditFailed = "failed"
)

// The topics. order-srv sends all of them.
const (
	TopicStockRelease = "stock-release" // transaction messages: give back what these orders hold
	TopicOrderTimeout = "order-timeout" // delayed: has this order been paid?
	TopicOrderEvents  = "order-events"  // ordered by order number: paid, cancelled, expired
	TopicOrderQueued  = "order-queued"  // the flow queue: decide these orders
	TopicStockReserve = "stock-reserve" // the flow outbox: reserve, and answer on inventoryapi.TopicStockReserved

	TopicOrderNotifications = "order-notifications" // delayed: the buyer's notification is due again
)

// StockReserve is the body on TopicStockReserve.
type StockReserve struct {
	Orders []inventoryapi.ReserveOrder `json:"orders"`

	// RequestIDs are the ids of the requests that placed the orders, by order number. A message of one order has none: its
	// header has the id.
	RequestIDs map[string]string `json:"request_ids,omitempty"`
}

// StockRelease is the body on TopicStockRelease: whatever these orders hold is to be given back.
type StockRelease struct {
	Orders []string `json:"orders"`
}

// OrderTimeout is the body on TopicOrderTimeout.
type OrderTimeout struct {
	Orders []string `json:"orders"`
}

// OrderQueued is the body on TopicOrderQueued: these orders are PENDING and are to be decided.
type OrderQueued struct {
	Orders     []string          `json:"orders"`
	RequestIDs map[string]string `json:"request_ids,omitempty"` // as in StockReserve
}

// OrderEvent is the body on TopicOrderEvents: one order, or orders of a group that ended together. Status is PAID,
// CANCELLED or EXPIRED.
type OrderEvent struct {
	OrderNo string   `json:"order_no,omitempty"`
	Orders  []string `json:"orders,omitempty"`
	Status  string   `json:"status"`
}

// All returns the orders that the event is about.
func (e OrderEvent) All() []string {
	if len(e.Orders) > 0 {
		return e.Orders
	}
	return []string{e.OrderNo}
}
