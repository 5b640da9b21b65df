package store

import (
	"fmt"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
)

func one(db *gorm.DB, where string, args ...any) (order.Order, error) {
	found, err := many(db, where, args...)
	if err != nil {
		return order.Order{}, err
	}
	if len(found) == 0 {
		return order.Order{}, order.ErrNotFound
	}
	return found[0], nil
}

// many reads orders with their items.
func many(db *gorm.DB, where string, args ...any) ([]order.Order, error) {
	var records []record
	if err := db.Raw("SELECT "+columns+" FROM orders WHERE "+where, args...).Scan(&records).Error; err != nil {
		return nil, fmt.Errorf("read orders: %w", err)
	}
	if len(records) == 0 {
		return nil, nil
	}
	numbers := make([]string, len(records))
	for i, r := range records {
		numbers[i] = r.OrderNo
	}
	items, err := itemsOf(db, numbers)
	if err != nil {
		return nil, err
	}
	orders := make([]order.Order, len(records))
	for i, r := range records {
		if orders[i], err = r.order(); err != nil {
			return nil, err
		}
		orders[i].Items = items[r.OrderNo]
	}
	return orders, nil
}

func itemsOf(db *gorm.DB, numbers []string) (map[string][]order.Item, error) {
	var rows []struct {
		OrderNo, SKU, Title      string
		Quantity, UnitPriceCents int64
	}
	err := db.Raw(`SELECT order_no, sku, COALESCE(title, '') AS title, quantity, COALESCE(unit_price_cents, 0) AS unit_price_cents
		FROM order_items WHERE order_no IN ? ORDER BY order_no, sku`, numbers).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read items: %w", err)
	}
	items := make(map[string][]order.Item, len(numbers))
	for _, r := range rows {
		items[r.OrderNo] = append(items[r.OrderNo], order.Item{SKU: r.SKU, Title: r.Title, Quantity: r.Quantity, UnitPriceCents: r.UnitPriceCents})
	}
	return items, nil
}
