// Package exercise is a solution of exercise 1.
package exercise

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"
)

// ErrOutOfStock is what a buyer gets when there is too little. Nothing was taken then.
var ErrOutOfStock = errors.New("out of stock")

// Reserve takes qty units of the SKU off the table stock (sku, available). Nil means that the buyer has them.
//
// Condition and subtraction are one statement. The server executes it under the row's lock, on the newest row, so no
// other buyer writes in between. A condition that is false is no error: the statement changes no row, and that number
// is the answer.
func Reserve(ctx context.Context, db *gorm.DB, sku string, qty int) error {
	res := db.WithContext(ctx).Exec("UPDATE stock SET available = available - ? WHERE sku = ? AND available >= ?", qty, sku, qty)
	if res.Error != nil {
		return fmt.Errorf("take %d units of %s: %w", qty, sku, res.Error)
	}
	if res.RowsAffected == 0 {
		return ErrOutOfStock
	}
	return nil
}
