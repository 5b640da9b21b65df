// Package exercise is a wrong attempt at exercise 1: it reads the stock, and writes what it computed from it.
package exercise

import (
	"context"
	"errors"

	"gorm.io/gorm"
)

// ErrOutOfStock is what a buyer gets when there is too little. Nothing was taken then.
var ErrOutOfStock = errors.New("out of stock")

type stock struct {
	SKU       string `gorm:"column:sku;primaryKey"`
	Available int
}

// TableName is the name of the table: gorm would look for stocks.
func (stock) TableName() string { return "stock" }

// Reserve takes qty units of the SKU off the table stock (sku, available). Nil means that the buyer has them.
func Reserve(ctx context.Context, db *gorm.DB, sku string, qty int) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var row stock
		if err := tx.First(&row, "sku = ?", sku).Error; err != nil {
			return err
		}
		if row.Available < qty {
			return ErrOutOfStock
		}
		return tx.Model(&row).Update("available", row.Available-qty).Error
	})
}
