package store

import (
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/stock"
)

// The limits of a page and of one delivery.
const (
	MaxPage    = 1000
	MaxInbound = 1_000_000_000
)

// Store reads and writes the inventory database. It is safe for concurrent use.
type Store struct {
	db            *gorm.DB
	layouts       []layout.Layout
	selectProduct string
}

// New makes a store on db, which pkg/database opened, for stock in these layouts.
func New(db *gorm.DB, layouts []layout.Layout) *Store {
	return &Store{db: db, layouts: layouts, selectProduct: selectProduct(layouts)}
}

// CheckOrderNo returns stock.ErrInvalidOrderNo unless no is 1 to 26 visible ASCII characters. The column pads with
// blanks, so that "A" and "A " would be one order there and two in Go.
func CheckOrderNo(no string) error {
	if len(no) > 26 || !visible(no) {
		return stock.ErrInvalidOrderNo
	}
	return nil
}

// visible reports whether s is not empty and has only printable ASCII characters without blanks.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
