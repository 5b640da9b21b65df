package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// Bulk is the ledger for many orders in one transaction. However many they are, each step is one statement with one
// parameter: a list in JSON, which JSON_TABLE makes a table of. Its rows are sorted and STRAIGHT_JOIN keeps their order,
// so that headers are taken in the order of their keys. Only locking reads name their keys one by one, because MySQL
// refuses to lock what it joins with a JSON_TABLE (error 3569).
type Bulk struct{ tx *gorm.DB }

// Header is what the ledger knows of an order without its lines.
type Header = header

// NewReservation is a reservation that is to be written.
type NewReservation struct {
	Hash    string
	Receipt stock.Receipt
}

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

// orders is the table of order numbers that the statements below join.
const orders = "JSON_TABLE(?, '$[*]' COLUMNS (no CHAR(26) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) AS o"

// Headers returns those of the orders that are known, as they are committed.
func (b Bulk) Headers(orderNos []string) (map[string]Header, error) {
	known := make(map[string]Header)
	return known, b.headers(known, "SELECT h.order_no, h.status, h.request_hash, h.strategy FROM "+orders+
		" STRAIGHT_JOIN reservations AS h FORCE INDEX (PRIMARY) ON h.order_no = o.no", keys(orderNos))
}

// lockChunk is how many keys a locking read names: fewer than the 1,000 from which MariaDB makes a table of an IN list
// and may scan the other one.
const lockChunk = 500

// LockHeaders is Headers, and the headers are locked until the transaction ends.
func (b Bulk) LockHeaders(orderNos []string) (map[string]Header, error) {
	known := make(map[string]Header, len(orderNos))
	for chunk := range slices.Chunk(once(orderNos), lockChunk) {
		err := b.headers(known, `SELECT h.order_no, h.status, h.request_hash, h.strategy FROM reservations AS h FORCE INDEX (PRIMARY)
			WHERE h.order_no IN ? ORDER BY h.order_no FOR UPDATE`, chunk)
		if err != nil {
			return nil, err
		}
	}
	return known, nil
}

func (b Bulk) headers(known map[string]Header, query string, orderNos any) error {
	var found []Header
	if err := b.tx.Raw(query, orderNos).Scan(&found).Error; err != nil {
		return fmt.Errorf("read headers: %w", err)
	}
	for _, h := range found {
		known[h.OrderNo] = h
	}
	return nil
}

// Receipts gives the receipts of known reservations again.
func (b Bulk) Receipts(headers []Header) (map[string]stock.Receipt, error) {
	receipts := make(map[string]stock.Receipt, len(headers))
	var orderNos []string
	for _, h := range headers {
		receipts[h.OrderNo] = stock.Receipt{OrderNo: h.OrderNo, Strategy: h.Strategy}
		orderNos = append(orderNos, h.OrderNo)
	}
	var lines []struct {
		OrderNo           string
		stock.ReceiptLine `gorm:"embedded"`
	}
	err := b.tx.Raw("SELECT l.order_no, l.sku, p.title, l.quantity, l.unit_price_cents FROM "+orders+
		` STRAIGHT_JOIN reservation_lines AS l FORCE INDEX (PRIMARY) ON l.order_no = o.no
		JOIN products AS p ON p.sku = l.sku ORDER BY l.order_no, l.sku`, keys(orderNos)).Scan(&lines).Error
	if err != nil {
		return nil, fmt.Errorf("read %d receipts: %w", len(headers), err)
	}
	for _, l := range lines {
		r := receipts[l.OrderNo]
		r.Lines = append(r.Lines, l.ReceiptLine)
		receipts[l.OrderNo] = r
	}
	return receipts, nil
}

// Lines returns the lines of each order, in SKU order.
func (b Bulk) Lines(orderNos []string) (map[string][]stock.Line, error) {
	var found []struct {
		OrderNo    string
		stock.Line `gorm:"embedded"`
	}
	err := b.tx.Raw("SELECT l.order_no, l.sku, l.quantity FROM "+orders+
		" STRAIGHT_JOIN reservation_lines AS l FORCE INDEX (PRIMARY) ON l.order_no = o.no ORDER BY l.order_no, l.sku", keys(orderNos)).
		Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("read the lines of %d orders: %w", len(orderNos), err)
	}
	lines := make(map[string][]stock.Line, len(orderNos))
	for _, l := range found {
		lines[l.OrderNo] = append(lines[l.OrderNo], l.Line)
	}
	return lines, nil
}

// newHeader and newLine are the rows of Insert.
type newHeader struct {
	No       string `json:"n"`
	Hash     string `json:"h"`
	Strategy string `json:"s"`
}

type newLine struct {
	No       string `json:"n"`
	SKU      string `json:"s"`
	Quantity int64  `json:"q"`
	Price    int64  `json:"p"`
}

// Insert writes new reservations with their lines. database.IsDuplicate reports that one of the orders has become known:
// a plain INSERT, because of many rows one would not learn from a count which of them were there.
func (b Bulk) Insert(all []NewReservation) error {
	all = slices.Clone(all)
	slices.SortFunc(all, func(x, y NewReservation) int { return cmp.Compare(x.Receipt.OrderNo, y.Receipt.OrderNo) })
	headers, lines := make([]newHeader, len(all)), make([]newLine, 0, len(all))
	for i, r := range all {
		headers[i] = newHeader{r.Receipt.OrderNo, r.Hash, r.Receipt.Strategy}
		for _, l := range r.Receipt.Lines {
			lines = append(lines, newLine{r.Receipt.OrderNo, l.SKU, l.Quantity, l.UnitPriceCents})
		}
	}
	err := b.tx.Exec(`INSERT INTO reservations (order_no, status, request_hash, strategy, created_at, updated_at)
		SELECT no, 'reserved', request_hash, strategy, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6)
		FROM JSON_TABLE(?, '$[*]' COLUMNS (
			no CHAR(26) CHARACTER SET ascii PATH '$.n',
			request_hash CHAR(64) CHARACTER SET ascii PATH '$.h',
			strategy VARCHAR(32) CHARACTER SET ascii PATH '$.s')) AS o`, list(headers)).Error
	if err != nil {
		return fmt.Errorf("insert %d headers: %w", len(headers), err)
	}
	err = b.tx.Exec(`INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
		SELECT no, sku, quantity, price
		FROM JSON_TABLE(?, '$[*]' COLUMNS (
			no CHAR(26) CHARACTER SET ascii PATH '$.n',
			sku VARCHAR(64) CHARACTER SET ascii PATH '$.s',
			quantity BIGINT PATH '$.q',
			price BIGINT PATH '$.p')) AS l`, list(lines)).Error
	if err != nil {
		return fmt.Errorf("insert %d lines: %w", len(lines), err)
	}
	return nil
}

// Bury writes the tombstones of unknown orders. database.IsDuplicate reports that one of them has become known.
func (b Bulk) Bury(orderNos []string) error {
	err := b.tx.Exec(`INSERT INTO reservations (order_no, status, request_hash, strategy, created_at, updated_at)
		SELECT no, 'void', '', '', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) FROM `+orders, keys(orderNos)).Error
	if err != nil {
		return fmt.Errorf("insert %d tombstones: %w", len(orderNos), err)
	}
	return nil
}

// End gives reserved headers, which the caller has locked, their final status. No order may be named twice.
func (b Bulk) End(orderNos []string, status stock.Status) error {
	res := b.tx.Exec("UPDATE "+orders+` STRAIGHT_JOIN reservations AS h FORCE INDEX (PRIMARY) ON h.order_no = o.no
		SET h.status = ?, h.updated_at = UTC_TIMESTAMP(6) WHERE h.status = 'reserved'`, keys(orderNos), status)
	if res.Error != nil {
		return fmt.Errorf("mark %d orders %s: %w", len(orderNos), status, res.Error)
	}
	if res.RowsAffected != int64(len(orderNos)) {
		return fmt.Errorf("%w: of %d orders only %d could be marked %s", errLedger, len(orderNos), res.RowsAffected, status)
	}
	return nil
}

// once returns the keys sorted and each once.
func once(all []string) []string { return slices.Compact(slices.Sorted(slices.Values(all))) }

// keys returns them as a list.
func keys(all []string) string { return list(once(all)) }

// list returns rows in JSON. It is a string because the driver marks bytes as binary, which is no JSON to MySQL.
func list[T any](rows []T) string {
	if rows == nil {
		return "[]"
	}
	text, err := json.Marshal(rows)
	if err != nil {
		panic(err) // a type of ours that JSON cannot hold
	}
	return string(text)
}
