package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// Bulk is the ledger for many orders in one transaction. Its statements take rows in the order of their keys, whatever
// the order in which they are asked for.
type Bulk struct{ tx *gorm.DB }

// Header is what the ledger knows of an order without its lines.
type Header = header

// NewReservation is a reservation that is to be written.
type NewReservation struct {
	Hash    string
	Receipt stock.Receipt
}

// bulkRows is how many rows one statement names: far below the 65,535 parameters that a statement can have, and below
// the 1,000 elements from which MariaDB turns an IN list into a temporary table.
const bulkRows = 500

// Check returns the refusals that need no database: stock.ErrInvalidOrderNo and stock.ErrInvalidLines.
func (l *Ledger) Check(r stock.Request) error { return l.check(r) }

// InBulk runs fn in a transaction, with the promises of database.InTx. It cannot find out about a COMMIT whose answer was
// lost: one order's header would prove nothing, as another instance may have reserved just that order. Who runs the same
// orders again learns it, for each of them, from the ledger.
func (l *Ledger) InBulk(ctx context.Context, fn func(tx *gorm.DB, b Bulk) error) error {
	err := database.InTx(ctx, l.db, func(tx *gorm.DB) error { return fn(tx, Bulk{tx}) })
	if err != nil {
		return notExecuted(ctx, err)
	}
	return nil
}

// Headers returns those of the orders that are known, as they are committed.
func (b Bulk) Headers(orderNos []string) (map[string]Header, error) {
	return b.headers(orderNos, "")
}

// LockHeaders is Headers, and the headers are locked until the transaction ends.
func (b Bulk) LockHeaders(orderNos []string) (map[string]Header, error) {
	return b.headers(orderNos, " ORDER BY order_no FOR UPDATE")
}

func (b Bulk) headers(orderNos []string, how string) (map[string]Header, error) {
	known := map[string]Header{}
	for chunk := range slices.Chunk(inOrder(orderNos), bulkRows) {
		var found []Header
		// Without the forced index a long list may be answered by a scan, which FOR UPDATE would lock.
		err := b.tx.Raw("SELECT order_no, status, request_hash, strategy FROM reservations FORCE INDEX (PRIMARY) WHERE order_no IN ?"+how, chunk).
			Scan(&found).Error
		if err != nil {
			return nil, fmt.Errorf("read %d headers: %w", len(chunk), err)
		}
		for _, h := range found {
			known[h.OrderNo] = h
		}
	}
	return known, nil
}

// Receipts gives the receipts of known reservations again.
func (b Bulk) Receipts(headers []Header) (map[string]stock.Receipt, error) {
	receipts := make(map[string]stock.Receipt, len(headers))
	var orderNos []string
	for _, h := range headers {
		receipts[h.OrderNo] = stock.Receipt{OrderNo: h.OrderNo, Strategy: h.Strategy}
		orderNos = append(orderNos, h.OrderNo)
	}
	for chunk := range slices.Chunk(inOrder(orderNos), bulkRows) {
		var lines []struct {
			OrderNo           string
			stock.ReceiptLine `gorm:"embedded"`
		}
		err := b.tx.Raw(`SELECT l.order_no, l.sku, p.title, l.quantity, l.unit_price_cents
			FROM reservation_lines l FORCE INDEX (PRIMARY) JOIN products p ON p.sku = l.sku
			WHERE l.order_no IN ? ORDER BY l.order_no, l.sku`, chunk).Scan(&lines).Error
		if err != nil {
			return nil, fmt.Errorf("read %d receipts: %w", len(chunk), err)
		}
		for _, l := range lines {
			r := receipts[l.OrderNo]
			r.Lines = append(r.Lines, l.ReceiptLine)
			receipts[l.OrderNo] = r
		}
	}
	return receipts, nil
}

// Insert writes new reservations with their lines. database.IsDuplicate reports that one of the orders has become known:
// a plain INSERT, because of many rows one would not learn from a count which of them were there.
func (b Bulk) Insert(all []NewReservation) error {
	all = slices.Clone(all)
	slices.SortFunc(all, func(x, y NewReservation) int { return strings.Compare(x.Receipt.OrderNo, y.Receipt.OrderNo) })
	headers, lines := make([]any, 0, 3*len(all)), make([]any, 0, 4*len(all))
	for _, r := range all {
		headers = append(headers, r.Receipt.OrderNo, r.Hash, r.Receipt.Strategy)
		for _, l := range r.Receipt.Lines {
			lines = append(lines, r.Receipt.OrderNo, l.SKU, l.Quantity, l.UnitPriceCents)
		}
	}
	err := b.insert("INSERT INTO reservations (order_no, status, request_hash, strategy, created_at, updated_at) VALUES ",
		"(?, 'reserved', ?, ?, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))", 3, headers)
	if err != nil {
		return fmt.Errorf("insert %d headers: %w", len(all), err)
	}
	if err := b.insert("INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents) VALUES ", "(?, ?, ?, ?)", 4, lines); err != nil {
		return fmt.Errorf("insert the lines of %d orders: %w", len(all), err)
	}
	return nil
}

// Bury writes the tombstones of unknown orders. database.IsDuplicate reports that one of them has become known.
func (b Bulk) Bury(orderNos []string) error {
	var args []any
	for _, no := range inOrder(orderNos) {
		args = append(args, no)
	}
	err := b.insert("INSERT INTO reservations (order_no, status, request_hash, strategy, created_at, updated_at) VALUES ",
		"(?, 'void', '', '', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))", 1, args)
	if err != nil {
		return fmt.Errorf("insert %d tombstones: %w", len(orderNos), err)
	}
	return nil
}

// insert writes rows of width values each.
func (b Bulk) insert(into, row string, width int, args []any) error {
	for chunk := range slices.Chunk(args, width*bulkRows) {
		rows := strings.Repeat(row+", ", len(chunk)/width)
		if err := b.tx.Exec(into+strings.TrimSuffix(rows, ", "), chunk...).Error; err != nil {
			return err
		}
	}
	return nil
}

// End gives reserved headers, which the caller has locked, their final status.
func (b Bulk) End(orderNos []string, status stock.Status) error {
	for chunk := range slices.Chunk(inOrder(orderNos), bulkRows) {
		res := b.tx.Exec(`UPDATE reservations FORCE INDEX (PRIMARY) SET status = ?, updated_at = UTC_TIMESTAMP(6)
			WHERE order_no IN ? AND status = 'reserved'`, status, chunk)
		if res.Error != nil {
			return fmt.Errorf("mark %d orders %s: %w", len(chunk), status, res.Error)
		}
		if res.RowsAffected != int64(len(chunk)) {
			return fmt.Errorf("%w: of %d orders only %d could be marked %s", errLedger, len(chunk), res.RowsAffected, status)
		}
	}
	return nil
}

// Lines returns the lines of each order, in SKU order.
func (b Bulk) Lines(orderNos []string) (map[string][]stock.Line, error) {
	lines := make(map[string][]stock.Line, len(orderNos))
	for chunk := range slices.Chunk(inOrder(orderNos), bulkRows) {
		var found []struct {
			OrderNo    string
			stock.Line `gorm:"embedded"`
		}
		err := b.tx.Raw(`SELECT order_no, sku, quantity FROM reservation_lines FORCE INDEX (PRIMARY)
			WHERE order_no IN ? ORDER BY order_no, sku`, chunk).Scan(&found).Error
		if err != nil {
			return nil, fmt.Errorf("read the lines of %d orders: %w", len(chunk), err)
		}
		for _, l := range found {
			lines[l.OrderNo] = append(lines[l.OrderNo], l.Line)
		}
	}
	return lines, nil
}

// inOrder returns the keys sorted and each once.
func inOrder(keys []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(keys)))
}
