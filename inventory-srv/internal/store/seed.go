package store

import (
	"context"
	"fmt"

	"holdfast/pkg/database"
)

// seedItem is a product of the demonstration catalogue with its units.
type seedItem struct {
	product Product
	units   int64
}

func seedCatalogue() []seedItem {
	return []seedItem{
		{Product{SKU: "MUG-CLASSIC", Title: "Classic mug, white, 330 ml", PriceCents: 1290}, 1000},
		{Product{SKU: "MUG-TRAVEL", Title: "Travel mug, steel, 450 ml", PriceCents: 2490}, 500},
		{Product{SKU: "TEE-BLACK-M", Title: "T-shirt, black, size M", PriceCents: 1990}, 300},
		{Product{SKU: "TEE-BLACK-L", Title: "T-shirt, black, size L", PriceCents: 1990}, 300},
		{Product{SKU: "HOODIE-GREY-M", Title: "Hooded sweater, grey, size M", PriceCents: 4990}, 150},
		{Product{SKU: "CAP-NAVY", Title: "Cap, navy blue", PriceCents: 1790}, 200},
		{Product{SKU: "NOTEBOOK-A5", Title: "Notebook A5, dotted, 192 pages", PriceCents: 1490}, 800},
		{Product{SKU: "PEN-SET", Title: "Set of four fine pens", PriceCents: 990}, 800},
		{Product{SKU: "POSTER-ANCHOR", Title: "Poster with an anchor, 50 by 70 cm", PriceCents: 2290}, 100},
		{Product{SKU: "LAMP-LIMITED", Title: "Ship's lamp, limited edition", PriceCents: 19900}, 20},
	}
}

// Seed fills the catalogue for a demonstration. A repeat changes nothing and waits for no row lock: an order may hold a
// row for long, as a prepared branch of the flow xa does while its coordinator is dead.
func (s *Store) Seed(ctx context.Context) error {
	for _, u := range seedCatalogue() {
		var seeded bool
		err := s.db.WithContext(ctx).Raw("SELECT EXISTS (SELECT 1 FROM stock_inbound WHERE reference = ?)", seedReference(u.product.SKU)).Row().Scan(&seeded)
		if err != nil {
			return fmt.Errorf("seed: look for what is seeded: %w", database.Fault(err))
		}
		if seeded { // in one transaction with the units, after the product
			continue
		}
		if _, err := s.CreateProduct(ctx, u.product); err != nil {
			return fmt.Errorf("seed: %w", err)
		}
		in := Inbound{
			SKU: u.product.SKU, Quantity: u.units,
			Reference: seedReference(u.product.SKU), Reason: "demonstration stock", Actor: "seed",
		}
		if _, err := s.Receive(ctx, in); err != nil {
			return fmt.Errorf("seed: %w", err)
		}
	}
	return nil
}

func seedReference(sku string) string { return "seed-" + sku }
