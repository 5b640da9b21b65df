// Package exercise is a wrong attempt at exercise 1: the subtraction is the database's, and the check is not.
package exercise

import (
	"context"
	"errors"

	"gorm.io/gorm"
)

// ErrOutOfStock is what a buyer gets when there is too little. Nothing was taken then.
var ErrOutOfStock = errors.New("out of stock")

// Reserve takes qty units of the SKU off the table stock (sku, available). Nil means that the buyer has them.
func Reserve(ctx context.Context, db *gorm.DB, sku string, qty int) error {
	db = db.WithContext(ctx)
	var available int
	if err := db.Raw("SELECT available FROM stock WHERE sku = ?", sku).Scan(&available).Error; err != nil {
		return err
	}
	if available < qty {
		return ErrOutOfStock
	}
	return db.Exec("UPDATE stock SET available = available - ? WHERE sku = ?", qty, sku).Error
}
