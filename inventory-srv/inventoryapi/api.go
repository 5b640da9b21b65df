// Package inventoryapi is the typed contract of inventory-srv: the JSON that crosses HTTP and a client for it. Both
// sides compile against it.
package inventoryapi

import (
	"encoding/json"
	"errors"
	"time"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/fault"
)

// The definite refusals, for callers that decide by errors.Is. They match faults rebuilt from HTTP answers.
var (
	ErrOutOfStock   = stock.ErrOutOfStock
	ErrUnknownSKU   = stock.ErrUnknownSKU
	ErrInvalidLines = stock.ErrInvalidLines
	ErrMismatch     = stock.ErrMismatch
	ErrClosed       = stock.ErrClosed
	ErrConfirmed    = stock.ErrConfirmed
	ErrUnknownOrder = stock.ErrUnknownOrder
	ErrStockLost    = stock.ErrStockLost
	ErrContended    = stock.ErrContended
	ErrLabOnly      = stock.ErrLabOnly

	ErrLabNotAllowed = stock.ErrLabNotAllowed
	ErrWrongLayout   = stock.ErrWrongLayout
	ErrInvalidLayout = stock.ErrInvalidLayout
)

// The consumer groups of inventory-srv. Their dead letters can be listed and sent again by these names.
const (
	GroupRelease = "inventory-release"
	GroupEvents  = "inventory-events"
	GroupReserve = "inventory-reserve"
)

// MaxOrdersPerCall bounds ReserveRequest and MaxStates StatesRequest.
const (
	MaxOrdersPerCall = 1000
	MaxStates        = 1000
)

// Line is a quantity of one SKU.
type Line struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// CheckLines is the rule for an order's lines, the same at the gateway and here. It returns ErrInvalidLines.
func CheckLines(lines []Line) error {
	converted := make([]stock.Line, len(lines))
	for i, l := range lines {
		converted[i] = stock.Line(l)
	}
	return stock.CheckLines(converted)
}

// ShortLine is a line that did not fit, with what there was of its SKU when inventory decided.
type ShortLine = stock.ShortLine

// OutOfStock returns ErrOutOfStock that names the short lines.
func OutOfStock(short []ShortLine) error { return stock.OutOfStock(short) }

// ShortLines returns the short lines of an ErrOutOfStock that crossed HTTP. It returns none when err is another fault,
// names no lines, or does not say what is available.
func ShortLines(err error) []ShortLine {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || !errors.Is(f, ErrOutOfStock) {
		return nil
	}
	encoded, err := json.Marshal(f.Details["short"])
	if err != nil {
		return nil
	}
	var lines []struct {
		ShortLine
		Available *int64 `json:"available"`
	}
	if json.Unmarshal(encoded, &lines) != nil {
		return nil
	}
	short := make([]ShortLine, len(lines))
	for i, l := range lines {
		if l.Available == nil {
			return nil
		}
		short[i] = l.ShortLine
		short[i].Available = *l.Available
	}
	return short
}

// ReserveRequest is POST /v1/reservations. The orders are handled concurrently and each has an outcome of its own.
type ReserveRequest struct {
	Orders []ReserveOrder `json:"orders"`
}

// ReserveOrder is one order of a ReserveRequest.
type ReserveOrder struct {
	OrderNo  string `json:"order_no"`
	Lines    []Line `json:"lines"`
	Strategy string `json:"strategy,omitempty"` // empty: the service's own; another only with LAB_MODE
}

// ReserveResponse answers in the order of the request.
type ReserveResponse struct {
	Results []ReserveResult `json:"results"`
}

// ReserveResult has a receipt or a problem.
type ReserveResult struct {
	OrderNo string         `json:"order_no"`
	Receipt *Receipt       `json:"receipt,omitempty"`
	Problem *fault.Problem `json:"problem,omitempty"`
}

// Receipt says what was reserved, at which price, by which strategy.
type Receipt struct {
	OrderNo     string        `json:"order_no"`
	Strategy    string        `json:"strategy"`
	AmountCents int64         `json:"amount_cents"`
	Lines       []ReceiptLine `json:"lines"`
}

// ReceiptLine is a reserved line.
type ReceiptLine struct {
	SKU            string `json:"sku"`
	Title          string `json:"title"`
	Quantity       int64  `json:"quantity"`
	UnitPriceCents int64  `json:"unit_price_cents"`
}

// StatesRequest is POST /v1/reservations/states.
type StatesRequest struct {
	OrderNos []string `json:"order_nos"`
}

// StatesResponse maps each known order number to its reservation's status; unknown ones are absent.
type StatesResponse struct {
	States map[string]string `json:"states"`
}

// The reservation statuses on the wire.
const (
	StateReserved  = string(stock.Reserved)
	StateConfirmed = string(stock.Confirmed)
	StateReleased  = string(stock.Released)
	StateVoid      = string(stock.Void)
)

// Reservation is an entry of GET /v1/reservations.
type Reservation struct {
	OrderNo   string    `json:"order_no"`
	Status    string    `json:"status"`
	Strategy  string    `json:"strategy"`
	Lines     []Line    `json:"lines"`
	CreatedAt time.Time `json:"created_at"`
	AgeMS     int64     `json:"age_ms"` // since CreatedAt, by the clock of inventory's database; milliseconds
}

// ReservationPage is GET /v1/reservations?after=&limit=, in order-number order. After is empty on the last page.
type ReservationPage struct {
	Reservations []Reservation `json:"reservations"`
	After        string        `json:"after,omitempty"`
}

// Product is a catalogue entry with what is free to sell.
type Product struct {
	SKU        string `json:"sku"`
	Title      string `json:"title"`
	PriceCents int64  `json:"price_cents"`
	Available  int64  `json:"available"`
	Layout     string `json:"layout"` // how its stock is stored: row, buckets, units, redis; moving during a change
	Lab        bool   `json:"lab,omitempty"`

	// CountedAt says how old Available is: the units of a product of the layout units are counted in the background. It is
	// absent for other layouts, and Available is that of the moment then.
	CountedAt *time.Time `json:"counted_at,omitempty"`
}

// ProductPage is GET /v1/products?cursor=&limit=, in SKU order. NextCursor is empty on the last page.
type ProductPage struct {
	Products   []Product `json:"products"`
	NextCursor string    `json:"next_cursor,omitempty"`
}

// CreateProductRequest is POST /v1/products. A repeat gets the same answer.
type CreateProductRequest struct {
	SKU        string `json:"sku"`
	Title      string `json:"title"`
	PriceCents int64  `json:"price_cents"`
	Lab        bool   `json:"lab,omitempty"` // the strategies that lose updates may sell it; only with LAB_MODE
}

// InboundRequest is POST /v1/products/{sku}/inbound: units that came in. Reference is the sender's own name for this
// delivery; a reference counts once.
type InboundRequest struct {
	Quantity  int64  `json:"quantity"`
	Reference string `json:"reference"`
	Reason    string `json:"reason"`
	Actor     string `json:"actor"`
}

// LayoutRequest is PUT /v1/products/{sku}/layout: store its stock in another layout, while it is being sold. Buckets
// that are buckets already are distributed again.
type LayoutRequest struct {
	Layout  string `json:"layout"`            // row, buckets, units, redis
	Buckets int    `json:"buckets,omitempty"` // of buckets: how many, 1 to 256; default 16
}

// Strategies is GET /v1/strategies.
type Strategies struct {
	Default    string     `json:"default"`
	Lab        bool       `json:"lab"` // an order may name its own
	Strategies []Strategy `json:"strategies"`
}

// Strategy describes one way of guarding stock.
type Strategy struct {
	Name   string `json:"name"`
	Layout string `json:"layout"`
	Idea   string `json:"idea"`
	Safe   bool   `json:"safe"` // false: it refuses products that were not created for the lab

	SafeAlone bool `json:"safe_alone,omitempty"` // not safe, but correct while it is the only instance
}

// Ledger is GET /v1/audit: counters and sums of one consistent snapshot.
type Ledger struct {
	TakenAt time.Time     `json:"taken_at"`
	Cutoff  string        `json:"cutoff"` // up to this order number the sums are rolled up
	SKUs    []LedgerEntry `json:"skus"`
	Losses  []Loss        `json:"losses"`
}

// AuditTime is how long inventory-srv reads its ledger at most.
const AuditTime = time.Minute

// RollUpRequest is POST /v1/audit/rollup: reservations up to the order number have ended. Restart first forgets what is
// rolled up.
type RollUpRequest struct {
	To      string `json:"to"`
	Restart bool   `json:"restart,omitempty"`
}

// RollUp is where the cut-off is after a step. Done: it moves no further.
type RollUp struct {
	Cutoff string `json:"cutoff"`
	Done   bool   `json:"done"`
}

// ArchiveRequest is POST /v1/reservations/archive: the orders up to the order number have ended, agree with their
// reservations, and are to leave.
type ArchiveRequest struct {
	To string `json:"to"`
}

// Archived is what one step of the archiving has done. Done: nothing is left up to the order number, or, when it is
// Blocked, a reservation that has not ended stops it.
type Archived struct {
	ArchivedTo string `json:"archived_to"`
	Archived   int    `json:"archived"` // reservations
	Deleted    int    `json:"deleted"`  // reservations, answers and messages
	Done       bool   `json:"done"`
	Blocked    bool   `json:"blocked,omitempty"`
}

// Loss is one loss of a strategy that answers before the ledger has the order. Its figures count the operations that
// were answered, that MySQL will never have, and that a replica of inventory-srv has reported.
type Loss struct {
	Reason     string    `json:"reason"`
	Operations int64     `json:"operations"`
	Units      int64     `json:"units"` // taken by those operations, less what they gave back
	NoticedAt  time.Time `json:"noticed_at"`
	Orders     []string  `json:"orders,omitempty"` // whose reserve is among the operations
}

// LedgerEntry is one SKU's side of the equations inbound = available + reserved + sold, reserved = Σ reserved lines and
// sold = Σ confirmed lines.
type LedgerEntry struct {
	SKU            string `json:"sku"`
	Layout         string `json:"layout"`
	Inbound        int64  `json:"inbound"`
	Available      int64  `json:"available"`
	Reserved       int64  `json:"reserved"`
	Sold           int64  `json:"sold"`
	LinesReserved  int64  `json:"lines_reserved"`
	LinesConfirmed int64  `json:"lines_confirmed"`
}
