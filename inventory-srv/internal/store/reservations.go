package store

import (
	"context"
	"fmt"
	"time"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// Reservation is a header with its lines, in SKU order.
type Reservation struct {
	OrderNo   string
	Status    stock.Status
	Strategy  string
	CreatedAt time.Time
	AgeMS     int64        // since CreatedAt, by the database's clock
	Lines     []stock.Line `gorm:"-"`
}

// States returns the reservation status of each order that is known.
func (s *Store) States(ctx context.Context, orderNos []string) (map[string]stock.Status, error) {
	states := make(map[string]stock.Status, len(orderNos))
	if len(orderNos) == 0 {
		return states, nil
	}
	var headers []header
	err := s.db.WithContext(ctx).Raw("SELECT order_no, status FROM reservations WHERE order_no IN ?", orderNos).Scan(&headers).Error
	if err != nil {
		return nil, database.Fault(fmt.Errorf("read the states: %w", err))
	}
	for _, h := range headers {
		states[h.OrderNo] = h.Status
	}
	return states, nil
}

// pageOf reads the next reservations of a range. One statement reads both tables, so it finds a reservation that is
// just being archived in one of them. Each part ends after as many rows as the page has.
const pageOf = `(SELECT order_no, status, strategy, created_at FROM reservations FORCE INDEX (PRIMARY)
		WHERE order_no > ? AND order_no <= ? ORDER BY order_no LIMIT ?)
	UNION ALL (SELECT order_no, 'confirmed', MIN(strategy), MIN(created_at) FROM reservation_archive FORCE INDEX (PRIMARY)
		WHERE order_no > ? AND order_no <= ? GROUP BY order_no ORDER BY order_no LIMIT ?)`

// Reservations returns up to limit reservations after an order number, up to another ("": to the end), archived or not,
// in order-number order. Lines never change once their header has committed, so the two reads need no common snapshot.
func (s *Store) Reservations(ctx context.Context, after, to string, limit int) ([]Reservation, error) {
	db := s.db.WithContext(ctx)
	if to == "" {
		to = lastOrderNo
	}
	after, to = ascii(after), ascii(to)
	var page []Reservation
	err := db.Raw("SELECT p.*, TIMESTAMPDIFF(MICROSECOND, created_at, UTC_TIMESTAMP(6)) DIV 1000 AS age_ms FROM ("+pageOf+") AS p ORDER BY order_no LIMIT ?",
		after, to, limit, after, to, limit, limit).Scan(&page).Error
	if err != nil {
		return nil, database.Fault(fmt.Errorf("read reservations: %w", err))
	}
	if len(page) == 0 {
		return nil, nil
	}
	place := make(map[string]int, len(page))
	for i, r := range page {
		place[r.OrderNo] = i
	}
	var lines []struct {
		OrderNo  string
		SKU      string
		Quantity int64
	}
	// The query names a range, because the page is one. The view finds the lines of reservations wherever they are.
	first, last := page[0].OrderNo, page[len(page)-1].OrderNo
	err = db.Raw(`SELECT order_no, sku, quantity FROM all_reservation_lines WHERE order_no BETWEEN ? AND ?
		UNION ALL SELECT order_no, sku, quantity FROM reservation_archive FORCE INDEX (PRIMARY) WHERE order_no BETWEEN ? AND ?
		ORDER BY order_no, sku`, first, last, first, last).Scan(&lines).Error
	if err != nil {
		return nil, database.Fault(fmt.Errorf("read reservation lines: %w", err))
	}
	for _, l := range lines {
		// A reservation that was committed between the two reads has lines but is not on the page.
		if i, ok := place[l.OrderNo]; ok {
			page[i].Lines = append(page[i].Lines, stock.Line{SKU: l.SKU, Quantity: l.Quantity})
		}
	}
	return page, nil
}
