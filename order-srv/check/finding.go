package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Violation is a broken invariant, with its SKU or order and the figures.
type Violation struct {
	Invariant int      `json:"invariant"`      // as numbered in the package documentation
	Subject   string   `json:"subject"`        // a SKU, an order number, "outbox", "half messages" or "dead letters"
	SKUs      []string `json:"skus,omitempty"` // the SKUs that it concerns, sorted; empty: unknown, possibly any
	Text      string   `json:"text"`
}

// String returns the violation on one line.
func (v Violation) String() string {
	return fmt.Sprintf("invariant %d: %s: %s", v.Invariant, v.Subject, v.Text)
}

// Concerns reports whether the finding concerns the SKU, or may concern it.
func (v Violation) Concerns(sku string) bool {
	return len(v.SKUs) == 0 || slices.Contains(v.SKUs, sku)
}

// subject is the SKU, order or part of the shop that a finding is about.
type subject struct {
	name string
	skus []string
}

func ofSKU(sku string) subject { return subject{sku, []string{sku}} }

// ofOrder returns the subject of an order, with the SKUs of its lines.
func ofOrder(orderNo string, lines map[string]int64) subject {
	return subject{orderNo, slices.Sorted(maps.Keys(lines))}
}

// ofShop returns the subject of a part of the shop that belongs to no order.
func ofShop(part string) subject { return subject{part, nil} }

func finding(invariant int, of subject, format string, args ...any) Violation {
	return Violation{Invariant: invariant, Subject: of.name, SKUs: of.skus, Text: fmt.Sprintf(format, args...)}
}

func (r *Report) violation(invariant int, of subject, format string, args ...any) {
	r.list(&r.Violations, finding(invariant, of, format, args...))
}

func (r *Report) unsettled(invariant int, of subject, format string, args ...any) {
	r.list(&r.Unsettled, finding(invariant, of, format, args...))
}

// list adds a finding to one of the report's lists, unless that is full.
func (r *Report) list(to *[]Violation, v Violation) {
	if len(*to) == MaxFindings {
		r.Unlisted++
		return
	}
	*to = append(*to, v)
}

// Sort orders violations by invariant, then by subject.
func Sort(vs []Violation) {
	slices.SortStableFunc(vs, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Invariant, b.Invariant), strings.Compare(a.Subject, b.Subject))
	})
}
