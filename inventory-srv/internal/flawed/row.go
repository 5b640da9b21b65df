package flawed

import (
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// row is a stock row that was read without a lock.
type row struct {
	SKU       string
	Lab       bool
	Available int64
	Reserved  int64
	Version   int64
}

// readRow reads one row with db. stock.ErrLabOnly when the product was not created for the lab.
func readRow(db *gorm.DB, sku, suffix string) (row, error) {
	var found []row
	err := db.Raw("SELECT sku, lab, available, reserved, version FROM stock WHERE sku = ?"+suffix, sku).Scan(&found).Error
	switch {
	case err != nil:
		return row{}, fmt.Errorf("read %s: %w", sku, err)
	case len(found) == 0:
		return row{}, stock.UnknownSKU(sku)
	case !found[0].Lab:
		return row{}, stock.ErrLabOnly.With("sku", sku)
	}
	return found[0], nil
}

// take subtracts in memory.
func (r *row) take(quantity int64) error {
	if r.Available < quantity {
		return stock.OutOfStock([]stock.ShortLine{{SKU: r.SKU, Requested: quantity, Available: r.Available}})
	}
	r.Available -= quantity
	r.Reserved += quantity
	return nil
}

// save writes absolute numbers, as an ORM's Save does.
func (r row) save(tx *gorm.DB) error {
	err := tx.Exec("UPDATE stock SET available = ?, reserved = ?, version = version + 1 WHERE sku = ?", r.Available, r.Reserved, r.SKU).Error
	if err != nil {
		return fmt.Errorf("save %s: %w", r.SKU, err)
	}
	return nil
}

// readTakeSave is the unguarded work, line by line, that most flaws believe to be guarded by their lock.
func readTakeSave(tx *gorm.DB, lines []stock.Line) error {
	for _, l := range lines {
		r, err := readRow(tx, l.SKU, "")
		if err != nil {
			return err
		}
		if err := r.take(l.Quantity); err != nil {
			return err
		}
		if err := r.save(tx); err != nil {
			return err
		}
	}
	return nil
}
