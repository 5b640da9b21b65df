package store

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// Product is a catalogue entry with what is free to sell.
type Product struct {
	SKU        string
	Title      string
	PriceCents int64
	Available  int64
	Layout     string // how its stock is stored, see SetLayout
	Lab        bool   // the strategies that lose updates may sell it

	// CountedAt is when the units that have rows of their own were counted; nil: the SKU has none.
	CountedAt *time.Time
}

// Inbound is a delivery of units. Reference is the sender's name for it; a reference counts once.
type Inbound struct {
	SKU       string
	Quantity  int64
	Reference string
	Reason    string
	Actor     string
}

// CreateProduct adds a product without stock and returns it. A repeat returns the product that exists; the same SKU
// with another title, price or lab mark is stock.ErrSKUExists. stock.ErrInvalidProduct when a field is out of bounds.
func (s *Store) CreateProduct(ctx context.Context, p Product) (Product, error) {
	if err := checkProduct(p); err != nil {
		return Product{}, err
	}
	var out Product
	err := database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		// Both statements leave an existing row as it is.
		err := tx.Exec(`INSERT INTO products (sku, title, price_cents, created_at) VALUES (?, ?, ?, UTC_TIMESTAMP(6))
			ON DUPLICATE KEY UPDATE sku = sku`, p.SKU, p.Title, p.PriceCents).Error
		if err != nil {
			return fmt.Errorf("insert the product: %w", err)
		}
		err = tx.Exec("INSERT INTO stock (sku, lab, updated_at) VALUES (?, ?, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE sku = sku", p.SKU, p.Lab).Error
		if err != nil {
			return fmt.Errorf("insert its stock: %w", err)
		}
		if out, err = s.readProduct(tx, p.SKU); err != nil {
			return err
		}
		if out.Title != p.Title || out.PriceCents != p.PriceCents || out.Lab != p.Lab {
			return stock.ErrSKUExists
		}
		return nil
	}, database.SettleBy("SELECT sku FROM products WHERE sku = ? FOR UPDATE", p.SKU))
	if err != nil {
		return Product{}, notExecuted(ctx, fmt.Errorf("create product %s: %w", p.SKU, err))
	}
	return out, nil
}

func checkProduct(p Product) error {
	switch {
	case !stock.ValidSKU(p.SKU):
		return stock.ErrInvalidProduct.WithText("a SKU has 1 to 64 of A-Z 0-9 . _ -")
	case p.Title == "" || !utf8.ValidString(p.Title) || utf8.RuneCountInString(p.Title) > 200:
		return stock.ErrInvalidProduct.WithText("a title has 1 to 200 characters")
	case p.PriceCents < 0 || p.PriceCents > maxPriceCents:
		return stock.ErrInvalidProduct.WithText("a price is 0 to %d cents", maxPriceCents)
	}
	return nil
}

// maxPriceCents keeps the amount of the largest order, 100 lines of 10,000 units, far from the end of an int64.
const maxPriceCents = 1_000_000_000

// Receive adds units to a product's stock, once for each reference, and returns the product. stock.ErrReferenceMismatch
// when the reference names another delivery, stock.ErrUnknownSKU, stock.ErrInvalidInbound.
func (s *Store) Receive(ctx context.Context, in Inbound) (Product, error) {
	if err := checkInbound(in); err != nil {
		return Product{}, err
	}
	var out Product
	err := database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		if err := receive(tx, in); err != nil {
			return err
		}
		var err error
		out, err = s.readProduct(tx, in.SKU)
		return err
	}, database.SettleBy("SELECT id FROM stock_inbound WHERE reference = ? FOR UPDATE", in.Reference))
	if err != nil {
		return Product{}, notExecuted(ctx, fmt.Errorf("receive %s: %w", in.Reference, err))
	}
	return out, nil
}

func receive(tx *gorm.DB, in Inbound) error {
	// Repeats wait for the reference's unique key, before the counter changes.
	res := tx.Exec(`INSERT INTO stock_inbound (sku, quantity, reference, reason, actor, created_at)
		VALUES (?, ?, ?, ?, ?, UTC_TIMESTAMP(6))
		ON DUPLICATE KEY UPDATE reference = reference`, in.SKU, in.Quantity, in.Reference, in.Reason, in.Actor)
	if res.Error != nil {
		return fmt.Errorf("insert the inbound: %w", res.Error)
	}
	if res.RowsAffected == 0 {
		return compareInbound(tx, in)
	}
	res = tx.Exec("UPDATE stock SET available = available + ?, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?",
		in.Quantity, in.SKU)
	if res.Error != nil {
		return fmt.Errorf("add the units: %w", res.Error)
	}
	if res.RowsAffected == 0 {
		return stock.UnknownSKU(in.SKU)
	}
	return nil
}

// compareInbound refuses a reference that names another delivery. Reason and actor may differ.
func compareInbound(tx *gorm.DB, in Inbound) error {
	var known []Inbound
	err := tx.Raw("SELECT sku, quantity, reference FROM stock_inbound WHERE reference = ?", in.Reference).Scan(&known).Error
	if err != nil {
		return fmt.Errorf("read the inbound: %w", err)
	}
	if len(known) != 1 || known[0].SKU != in.SKU || known[0].Quantity != in.Quantity {
		return stock.ErrReferenceMismatch
	}
	return nil
}

func checkInbound(in Inbound) error {
	switch {
	case !stock.ValidSKU(in.SKU):
		return stock.UnknownSKU(in.SKU)
	case in.Quantity < 1 || in.Quantity > MaxInbound:
		return stock.ErrInvalidInbound.WithText("a quantity is 1 to %d units", MaxInbound)
	case len(in.Reference) > 128 || !stock.Visible(in.Reference):
		return stock.ErrInvalidInbound.WithText("a reference has 1 to 128 visible ASCII characters")
	case !utf8.ValidString(in.Reason) || utf8.RuneCountInString(in.Reason) > 200:
		return stock.ErrInvalidInbound.WithText("a reason has at most 200 characters")
	case !utf8.ValidString(in.Actor) || utf8.RuneCountInString(in.Actor) > 64:
		return stock.ErrInvalidInbound.WithText("an actor has at most 64 characters")
	}
	return nil
}

// Product returns one catalogue entry, or stock.ErrUnknownSKU.
func (s *Store) Product(ctx context.Context, sku string) (Product, error) {
	if !stock.ValidSKU(sku) {
		return Product{}, stock.UnknownSKU(sku)
	}
	p, err := s.readProduct(s.db.WithContext(ctx), sku)
	return p, database.Fault(err)
}

// Products returns up to limit entries after the given SKU, in SKU order.
func (s *Store) Products(ctx context.Context, after string, limit int) ([]Product, error) {
	var page []Product
	err := s.db.WithContext(ctx).Raw(s.selectProduct+" WHERE p.sku > ? ORDER BY p.sku LIMIT ?", ascii(after), limit).Scan(&page).Error
	if err != nil {
		return nil, database.Fault(fmt.Errorf("read the catalogue: %w", err))
	}
	return page, nil
}

// selectProduct adds up the free units of all layouts, at one moment; those in Redis as far as MySQL has followed, and
// rows of units as they were last counted.
func selectProduct(layouts []layout.Layout) string {
	free := make([]string, len(layouts))
	for i, l := range layouts {
		free[i] = l.Free()
	}
	return "SELECT p.sku, p.title, p.price_cents, s.layout, s.lab, " + strings.Join(free, " + ") + ` AS available,
			IF(s.layout = 'units', (SELECT c.counted_at FROM unit_counts c WHERE c.sku = s.sku), NULL) AS counted_at
		FROM products p JOIN stock s ON s.sku = p.sku`
}

func (s *Store) readProduct(tx *gorm.DB, sku string) (Product, error) {
	var found []Product
	if err := tx.Raw(s.selectProduct+" WHERE p.sku = ?", sku).Scan(&found).Error; err != nil {
		return Product{}, fmt.Errorf("read the product: %w", err)
	}
	if len(found) == 0 {
		return Product{}, stock.UnknownSKU(sku)
	}
	return found[0], nil
}

// ascii makes a cursor comparable with an ASCII column. No key is above "~", so a character that is not ASCII sorts
// after all keys.
func ascii(cursor string) string {
	for i := range len(cursor) {
		if cursor[i] > '~' {
			return cursor[:i] + "~"
		}
	}
	return cursor
}
