package store

import (
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// header is a row of reservations. The row of a compact reservation has its only line, and no hash.
type header struct {
	OrderNo     string
	Status      stock.Status
	RequestHash string
	Strategy    string

	SKU            *string // nil: the lines, if there are any, are in reservation_lines
	Quantity       int64
	UnitPriceCents int64
}

const selectHeader = "SELECT order_no, status, request_hash, strategy, sku, quantity, unit_price_cents FROM reservations"

// IsFor reports whether the header's order has the lines of the request.
func (h header) IsFor(r stock.Request) bool {
	if h.SKU == nil {
		return h.RequestHash == r.Hash()
	}
	return len(r.Lines) == 1 && r.Lines[0] == stock.Line{SKU: *h.SKU, Quantity: h.Quantity}
}

// lockHeader reads a header and locks it until the transaction ends. Under READ COMMITTED an absent header locks
// nothing; a release of an unknown order therefore inserts one.
func lockHeader(tx *gorm.DB, orderNo string) (h header, known bool, err error) {
	return queryHeader(tx, selectHeader+" WHERE order_no = ? FOR UPDATE", orderNo)
}

// readHeader reads a header that must be there.
func readHeader(tx *gorm.DB, orderNo string) (header, error) {
	h, known, err := queryHeader(tx, selectHeader+" WHERE order_no = ?", orderNo)
	if err == nil && !known {
		err = fmt.Errorf("%w: the header of %s was there and is gone", stock.ErrInconsistent, orderNo)
	}
	return h, err
}

func queryHeader(tx *gorm.DB, query, orderNo string) (h header, known bool, err error) {
	var found []header
	if err := tx.Raw(query, orderNo).Scan(&found).Error; err != nil {
		return header{}, false, fmt.Errorf("read the header: %w", err)
	}
	if len(found) == 0 {
		return header{}, false, nil
	}
	return found[0], true, nil
}

// readReceipt returns the receipt of a reservation with the prices of its lines.
func readReceipt(tx *gorm.DB, h header) (stock.Receipt, error) {
	receipt := stock.Receipt{OrderNo: h.OrderNo, Strategy: h.Strategy}
	err := tx.Raw(`SELECT l.sku, p.title, l.quantity, l.unit_price_cents
		FROM all_reservation_lines l JOIN products p ON p.sku = l.sku
		WHERE l.order_no = ? ORDER BY l.sku`, h.OrderNo).Scan(&receipt.Lines).Error
	if err != nil {
		return stock.Receipt{}, fmt.Errorf("read the receipt: %w", err)
	}
	return receipt, nil
}

// readLines returns the lines of an order, whose header is locked, in SKU order: the order in which their stock is
// locked.
func readLines(tx *gorm.DB, h header) ([]stock.Line, error) {
	if h.SKU != nil {
		return []stock.Line{{SKU: *h.SKU, Quantity: h.Quantity}}, nil
	}
	var lines []stock.Line
	err := tx.Raw("SELECT sku, quantity FROM reservation_lines WHERE order_no = ? ORDER BY sku", h.OrderNo).Scan(&lines).Error
	if err != nil {
		return nil, fmt.Errorf("read the lines: %w", err)
	}
	return lines, nil
}
