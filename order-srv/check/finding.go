package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Violation names a broken invariant, its SKU or order, and the figures.
type Violation struct {
	Invariant int      `json:"invariant"`      // as numbered in the package documentation
	Subject   string   `json:"subject"`        // a SKU, an order number, "outbox", "half messages" or "dead letters"
	SKUs      []string `json:"skus,omitempty"` // whose stock it is about, in order; empty: unknown, it may be any
	Text      string   `json:"text"`
}

// String is the violation on one line.
func (v Violation) String() string {
	return fmt.Sprintf("invariant %d: %s: %s", v.Invariant, v.Subject, v.Text)
}

// Concerns reports whether the finding is about a SKU's stock, or may be.
func (v Violation) Concerns(sku string) bool {
	return len(v.SKUs) == 0 || slices.Contains(v.SKUs, sku)
}

// subject is what a finding is about.
type subject struct {
	name string
	skus []string
}

func ofSKU(sku string) subject { return subject{sku, []string{sku}} }

// ofOrder is an order with the SKUs of its lines.
func ofOrder(orderNo string, lines map[string]int64) subject {
	return subject{orderNo, slices.Sorted(maps.Keys(lines))}
}

// ofShop is a part of the shop that is about no order.
func ofShop(part string) subject { return subject{part, nil} }

func finding(invariant int, of subject, format string, args ...any) Violation {
	return Violation{Invariant: invariant, Subject: of.name, SKUs: of.skus, Text: fmt.Sprintf(format, args...)}
}

func (r *Report) violation(invariant int, of subject, format string, args ...any) {
	r.Violations = append(r.Violations, finding(invariant, of, format, args...))
}

func (r *Report) unsettled(invariant int, of subject, format string, args ...any) {
	r.Unsettled = append(r.Unsettled, finding(invariant, of, format, args...))
}

// Sort puts violations into the order in which people look at them: by invariant, then by subject.
func Sort(vs []Violation) {
	slices.SortStableFunc(vs, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Invariant, b.Invariant), strings.Compare(a.Subject, b.Subject))
	})
}
