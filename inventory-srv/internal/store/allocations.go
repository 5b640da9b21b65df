package store

import (
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/statement"
	"holdfast/inventory-srv/internal/stock"
)

// Allocate writes in which bucket each line of an order is reserved. The caller has locked the buckets.
func Allocate(tx *gorm.DB, orderNo string, lines []stock.Line, buckets []int64) error {
	s := statement.New(len(lines), statement.LineSize, "INSERT INTO reservation_allocations (sku, order_no, bucket, quantity) VALUES ")
	for i, l := range lines {
		s.Comma(i).Add("(").Text(l.SKU).Add(",").Text(orderNo).Add(",").Number(buckets[i]).Add(",").Number(l.Quantity).Add(")")
	}
	if _, err := s.Exec(tx); err != nil {
		return fmt.Errorf("insert the allocations: %w", err)
	}
	return nil
}

// Allocations returns the bucket of each line that has one, by SKU.
func Allocations(tx *gorm.DB, orderNo string, lines []stock.Line) (map[string]int64, error) {
	var found []struct {
		SKU    string
		Bucket int64
	}
	err := tx.Raw("SELECT sku, bucket FROM reservation_allocations WHERE order_no = ? AND sku IN ?", orderNo, stock.Request{Lines: lines}.SKUs()).
		Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("read the allocations: %w", err)
	}
	buckets := make(map[string]int64, len(found))
	for _, a := range found {
		buckets[a.SKU] = a.Bucket
	}
	return buckets, nil
}

// Deallocate removes the allocations of an order that has come to its end. The caller has locked the buckets.
func Deallocate(tx *gorm.DB, orderNo string, lines []stock.Line) error {
	err := tx.Exec("DELETE a FROM reservation_allocations AS a FORCE INDEX (PRIMARY) WHERE a.order_no = ? AND a.sku IN ?",
		orderNo, stock.Request{Lines: lines}.SKUs()).Error
	if err != nil {
		return fmt.Errorf("delete the allocations: %w", err)
	}
	return nil
}
