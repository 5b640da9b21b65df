package store

import (
	"fmt"
	"strings"

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

// insertHeader reports whether it inserted the header. The UPDATE part changes nothing: the database answers 1 for an
// insert and 0 for a duplicate, after waiting for the transaction that holds the key. A plain INSERT would answer a
// duplicate with an error, and the transaction would have to roll back.
func insertHeader(tx *gorm.DB, h header) (mine bool, err error) {
	query, args := `INSERT INTO reservations (order_no, status, request_hash, strategy)
		VALUES (?, ?, ?, ?)
		ON DUPLICATE KEY UPDATE order_no = order_no`, []any{h.OrderNo, h.Status, h.RequestHash, h.Strategy}
	if h.SKU != nil {
		query, args = `INSERT INTO reservations (order_no, status, strategy, sku, quantity, unit_price_cents)
		VALUES (?, ?, ?, ?, ?, ?)
		ON DUPLICATE KEY UPDATE order_no = order_no`, []any{h.OrderNo, h.Status, h.Strategy, *h.SKU, h.Quantity, h.UnitPriceCents}
	}
	res := tx.Exec(query, args...)
	if res.Error != nil {
		return false, fmt.Errorf("insert the header: %w", res.Error)
	}
	return res.RowsAffected == 1, nil
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

// price makes the receipt from the catalogue; r's lines are in SKU order. stock.ErrUnknownSKU names the first SKU that
// the catalogue does not have.
func price(tx *gorm.DB, r stock.Request) (stock.Receipt, error) {
	var products []stock.ReceiptLine
	err := tx.Raw("SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ?", r.SKUs()).Scan(&products).Error
	if err != nil {
		return stock.Receipt{}, fmt.Errorf("read titles and prices: %w", err)
	}
	bySKU := make(map[string]stock.ReceiptLine, len(products))
	for _, p := range products {
		bySKU[p.SKU] = p
	}
	receipt := stock.Receipt{OrderNo: r.OrderNo, Strategy: r.Strategy, Lines: make([]stock.ReceiptLine, len(r.Lines))}
	for i, l := range r.Lines {
		p, ok := bySKU[l.SKU]
		if !ok {
			return stock.Receipt{}, stock.UnknownSKU(l.SKU)
		}
		p.Quantity = l.Quantity
		receipt.Lines[i] = p
	}
	return receipt, nil
}

// insertLines writes the receipt's lines with one statement.
func insertLines(tx *gorm.DB, receipt stock.Receipt) error {
	values := make([]string, len(receipt.Lines))
	args := make([]any, 0, 4*len(receipt.Lines))
	for i, l := range receipt.Lines {
		values[i] = "(?, ?, ?, ?)"
		args = append(args, receipt.OrderNo, l.SKU, l.Quantity, l.UnitPriceCents)
	}
	query := "INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents) VALUES " + strings.Join(values, ", ")
	if err := tx.Exec(query, args...).Error; err != nil {
		return fmt.Errorf("insert the lines: %w", err)
	}
	return nil
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
