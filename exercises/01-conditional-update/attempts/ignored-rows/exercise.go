// Package exercise is a wrong attempt at exercise 1: it asks the right question, and does not look at the answer.
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
	err := db.WithContext(ctx).Exec("UPDATE stock SET available = available - ? WHERE sku = ? AND available >= ?", qty, sku, qty).Error
	if err != nil {
		return ErrOutOfStock
	}
	return nil
}
