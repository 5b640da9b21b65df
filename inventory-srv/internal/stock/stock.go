// Package stock is inventory-srv's domain: requests, answers, and which answers are definite. It knows neither SQL nor
// HTTP nor Redis.
package stock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of an order. They are checked at the gateway and again here.
const (
	MaxLines    = 100
	MaxQuantity = 10_000
)

// Layouts: how a SKU's stock is stored. A strategy works on one of them.
const (
	LayoutRow     = "row"     // counters on the one stock row
	LayoutBuckets = "buckets" // counters split over several rows
	LayoutUnits   = "units"   // a row for each unit
	LayoutRedis   = "redis"   // counters in Redis, which MySQL follows

	LayoutMoving = "moving" // on the way out of Redis: no strategy works on it
)

// The buckets of layout "buckets".
const (
	MaxBuckets     = 256
	DefaultBuckets = 16
)

// ValidSKU reports whether sku can name a product: 1 to 64 of A-Z, 0-9, dot, hyphen and underscore. Lower case is
// refused, because many a database would not distinguish it.
func ValidSKU(sku string) bool {
	for i := range len(sku) {
		switch c := sku[i]; {
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return len(sku) > 0 && len(sku) <= 64
}

// CheckOrderNo returns ErrInvalidOrderNo unless no is 1 to 26 visible ASCII characters. The database ignores blanks
// at the end of a number and Go does not, so a number has none.
func CheckOrderNo(no string) error {
	if len(no) > 26 || !Visible(no) {
		return ErrInvalidOrderNo
	}
	return nil
}

// Visible reports whether s is not empty and has only visible ASCII characters: no blanks, no control characters.
func Visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// Line is a quantity of one SKU.
type Line struct {
	SKU      string
	Quantity int64
}

// Request asks for all of its lines or none.
type Request struct {
	OrderNo  string
	Lines    []Line
	Strategy string // the strategy that reserves, recorded on the reservation; confirm and release follow it
}

// Validate returns ErrInvalidLines with the line that is wrong and the reason. It merges nothing: an order that names
// one SKU twice has a bug.
func (r Request) Validate() error {
	if err := CheckOrderNo(r.OrderNo); err != nil {
		return err
	}
	return CheckLines(r.Lines)
}

// CheckLines returns ErrInvalidLines unless there are 1 to MaxLines lines of distinct SKUs with 1 to MaxQuantity units.
func CheckLines(lines []Line) error {
	if len(lines) == 0 || len(lines) > MaxLines {
		return ErrInvalidLines.WithText("an order has 1 to %d lines, not %d", MaxLines, len(lines))
	}
	for i, l := range lines {
		switch {
		case !ValidSKU(l.SKU):
			return ErrInvalidLines.WithText("line %d: a SKU has 1 to 64 of A-Z 0-9 . _ -", i+1)
		case l.Quantity < 1 || l.Quantity > MaxQuantity:
			return ErrInvalidLines.WithText("line %d: the quantity is 1 to %d, not %d", i+1, MaxQuantity, l.Quantity)
		case slices.ContainsFunc(lines[:i], func(earlier Line) bool { return earlier.SKU == l.SKU }):
			return ErrInvalidLines.WithText("line %d: %s stands in an earlier line", i+1, l.SKU)
		}
	}
	return nil
}

// Sorted returns a copy of the request with its lines in SKU order, the order of all rows and locks: without it, two
// orders that take [A, B] and [B, A] would deadlock.
func (r Request) Sorted() Request {
	r.Lines = slices.Clone(r.Lines)
	slices.SortFunc(r.Lines, bySKU)
	return r
}

func bySKU(a, b Line) int { return strings.Compare(a.SKU, b.SKU) }

// SKUs returns the SKUs in the order of the lines.
func (r Request) SKUs() []string {
	skus := make([]string, len(r.Lines))
	for i, l := range r.Lines {
		skus[i] = l.SKU
	}
	return skus
}

// Hash identifies the payload: an order number that comes with another hash is refused. Line order and strategy do not
// count.
func (r Request) Hash() string {
	text := make([]byte, 0, max(2*sha256.Size, 32*len(r.Lines)))
	if !slices.IsSortedFunc(r.Lines, bySKU) {
		r = r.Sorted()
	}
	for _, l := range r.Lines {
		text = append(text, l.SKU...)
		text = append(text, ' ')
		text = strconv.AppendInt(text, l.Quantity, 10)
		text = append(text, '\n')
	}
	sum := sha256.Sum256(text)
	return string(hex.AppendEncode(text[:0], sum[:]))
}

// ReceiptLine is a reserved line with the title and the price at that moment.
type ReceiptLine struct {
	SKU            string
	Title          string
	Quantity       int64
	UnitPriceCents int64
}

// Receipt is the answer to a successful reserve; a repeat gets an equal one.
type Receipt struct {
	OrderNo  string
	Strategy string
	Lines    []ReceiptLine // in SKU order
}

// Outcome is what became of one of several orders that were to be reserved: the error of a Reserve, or its receipt.
type Outcome struct {
	Receipt Receipt
	Err     error
}

// AmountCents is the sum over the lines.
func (r Receipt) AmountCents() int64 {
	var sum int64
	for _, l := range r.Lines {
		sum += l.Quantity * l.UnitPriceCents
	}
	return sum
}

// Status of a reservation.
type Status string

// A reservation goes from reserved to confirmed or released. Void is the tombstone of an order that was released before
// it was reserved.
const (
	Reserved  Status = "reserved"
	Confirmed Status = "confirmed"
	Released  Status = "released"
	Void      Status = "void"
)

// Reserver guards stock. All three operations are idempotent by order number, and every implementation is a strategy.
type Reserver interface {
	// Reserve takes all lines or none. Definite refusals: ErrOutOfStock (details name the short lines), ErrUnknownSKU,
	// ErrInvalidLines, ErrInvalidOrderNo, ErrMismatch, ErrClosed. After ErrContended nothing was executed, and the caller
	// may retry.
	Reserve(ctx context.Context, r Request) (Receipt, error)
	// Confirm turns reserved units into sold ones. ErrClosed when the order was released, ErrUnknownOrder when it was
	// never reserved.
	Confirm(ctx context.Context, orderNo string) error
	// Release gives reserved units back; of an unknown order it writes the tombstone, so that a reserve that is still on
	// its way is refused. ErrConfirmed when the order was confirmed.
	Release(ctx context.Context, orderNo string) error
}

// Loss is what a strategy had answered and the ledger will never have. An operation that no replica has reported is in
// none of the figures.
type Loss struct {
	Epoch      int64 // that ended with it
	Reason     string
	Operations int64
	Units      int64 // that the operations had taken, less what they had given back
	NoticedAt  time.Time
	Orders     []string `gorm:"-"` // whose reserve is among the operations, in order-number order
}
