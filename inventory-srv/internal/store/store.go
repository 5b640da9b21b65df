package store

import (
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/layout"
	"holdfast/pkg/outbox"
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
	form          *form
	outbox        *outbox.Table
}

// New makes a store on db, which pkg/database opened, for stock in these layouts. It writes compact reservations, see
// ReadForm.
func New(db *gorm.DB, layouts []layout.Layout) *Store {
	return &Store{db: db, layouts: layouts, selectProduct: selectProduct(layouts), form: newForm(true), outbox: outbox.New(db, nil)}
}

// Outbox returns the database's outbox, on the store's connections.
func (s *Store) Outbox() *outbox.Table { return s.outbox }
