// Package layout stores the units of a SKU: on the stock row, in buckets, or as one row for each unit. Layout is the
// interface of all of them.
package layout

import (
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// Layout is one way of storing units. What it does not hold of a SKU's free units is unallocated stock, which is on the
// stock row: deliveries arrive there. The caller of Collect and Distribute has locked that row.
type Layout interface {
	// Name is the value of stock.layout.
	Name() string
	// Check returns to with its defaults, or stock.ErrInvalidLayout.
	Check(to Shape) (Shape, error)
	// Collect removes the SKU's free units from the layout's rows and returns them, and with them the units of orders that
	// the stock row holds from now on.
	Collect(tx *gorm.DB, sku string) (Counts, error)
	// Distribute moves units from unallocated stock to the layout's rows and returns what is left there.
	Distribute(tx *gorm.DB, sku string, free Unallocated, to Shape) (Unallocated, error)
	// Totals is a query of sku, available, reserved and sold for each SKU with units in the layout.
	Totals() string
	// Free is an SQL expression: the free units that the layout holds of the SKU s.sku, where s is the table stock.
	Free() string
}

// Drainer is a Layout whose free units return some time after the SKU was closed.
type Drainer interface {
	Layout
	// Close closes a SKU. The caller has locked its stock row.
	Close(tx *gorm.DB, sku string) error
	// Drained reports whether all free units of a closed SKU are unallocated stock.
	Drained(tx *gorm.DB, sku string) (bool, error)
}

// Archiver is a Layout with rows of sold units, which leave with the reservations that are archived.
type Archiver interface {
	Layout
	// Archive deletes the rows of the units that the orders have bought, and adds the units to the sold ones of the stock
	// rows, which it locks in SKU order.
	Archive(tx *gorm.DB, orders Orders) error
}

// Orders are order numbers by the SKU that the orders have bought.
type Orders map[string][]string

// Shape says how a SKU's stock is to be stored.
type Shape struct {
	Layout  string // stock.LayoutRow and so on
	Buckets int    // of stock.LayoutBuckets: the number of rows; 0 is stock.DefaultBuckets
}

// Counts counts units by what became of them.
type Counts struct{ Available, Reserved, Sold int64 }

// Unallocated is a SKU's unallocated stock.
type Unallocated struct {
	Available int64
	Places    int64 // how many numbers its buckets and units have been given; no number is given twice
}

// Row keeps all units on the stock row. Other layouts embed it for what they do likewise.
type Row struct{}

var _ Layout = Row{}

// Name implements Layout.
func (Row) Name() string { return stock.LayoutRow }

// Check implements Layout.
func (Row) Check(to Shape) (Shape, error) {
	if to.Buckets != 0 {
		return Shape{}, stock.ErrInvalidLayout.WithText("only the layout %s has buckets", stock.LayoutBuckets)
	}
	return to, nil
}

// Collect implements Layout. The units are on the stock row already.
func (Row) Collect(*gorm.DB, string) (Counts, error) { return Counts{}, nil }

// Distribute implements Layout.
func (Row) Distribute(_ *gorm.DB, _ string, free Unallocated, _ Shape) (Unallocated, error) {
	return free, nil
}

// Totals implements Layout. The stock row's counters are those of all layouts' unallocated stock too.
func (Row) Totals() string { return "SELECT sku, available, reserved, sold FROM stock" }

// Free implements Layout.
func (Row) Free() string { return "s.available" }
