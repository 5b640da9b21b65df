package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/statement"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// Bulk is the ledger for many orders in one transaction. Each step is one statement, or one for each chunk of keys.
// Keys are sorted and the primary key is forced, so that rows are locked in key order; a scan would lock the whole
// table.
type Bulk struct {
	tx      *gorm.DB
	compact bool // it writes compact reservations, see form
}

// Header is what the ledger has of an order without its lines.
type Header = header

// NewReservation is a reservation that is to be written. Hash may be "" for an order of one line.
type NewReservation struct {
	Hash    string
	Receipt stock.Receipt
}

// Check returns the refusals that need no database: stock.ErrInvalidOrderNo and stock.ErrInvalidLines.
func (l *Ledger) Check(r stock.Request) error { return l.check(r) }

// InBulk runs fn in a transaction, with the guarantees of database.InTx. It cannot settle a COMMIT whose answer was
// lost: the header of one order proves nothing, because another instance may have reserved that order. A caller that
// repeats the orders reads the outcome of each from the ledger.
func (l *Ledger) InBulk(ctx context.Context, fn func(tx *gorm.DB, b Bulk) error, opts ...database.TxOption) error {
	err := database.InTx(ctx, l.db, func(tx *gorm.DB) error { return fn(tx, Bulk{tx, l.form.compact.Load()}) }, opts...)
	if err != nil {
		return notExecuted(ctx, err)
	}
	return nil
}

// Headers returns those of the orders that have a committed header. It runs without a transaction.
func (l *Ledger) Headers(ctx context.Context, orderNos []string) (map[string]Header, error) {
	headers, err := Bulk{tx: l.db.WithContext(ctx)}.Headers(orderNos)
	return headers, database.Fault(err)
}

// Written returns those of the orders that have a header, whether its transaction has committed or not.
func (l *Ledger) Written(ctx context.Context, orderNos []string) (map[string]bool, error) {
	written := make(map[string]bool, len(orderNos))
	err := l.InBulk(ctx, func(_ *gorm.DB, b Bulk) error {
		clear(written)
		headers, err := b.Headers(orderNos)
		for no := range headers {
			written[no] = true
		}
		return err
	}, database.ReadUncommitted())
	return written, err
}

// IsData reports a fault in the data of one of the orders of a transaction: without that order the others may succeed.
func IsData(err error) bool { return database.IsData(err) || errors.Is(err, stock.ErrInconsistent) }

// Headers returns those of the orders that have a committed header.
func (b Bulk) Headers(orderNos []string) (map[string]Header, error) { return b.headers(orderNos, "") }

// LockHeaders is Headers, and the headers are locked until the transaction ends.
func (b Bulk) LockHeaders(orderNos []string) (map[string]Header, error) {
	return b.headers(orderNos, " FOR UPDATE")
}

// LockFreeHeaders is LockHeaders without those headers that other transactions have locked. It does not wait for them.
func (b Bulk) LockFreeHeaders(orderNos []string) (map[string]Header, error) {
	return b.headers(orderNos, " FOR UPDATE SKIP LOCKED")
}

func (b Bulk) headers(orderNos []string, locking string) (map[string]Header, error) {
	known := make(map[string]Header, len(orderNos))
	for chunk := range slices.Chunk(statement.SortUnique(orderNos), statement.KeyChunk) {
		var found []Header
		err := statement.New(len(chunk), statement.KeySize, selectHeader+" FORCE INDEX (PRIMARY) WHERE order_no IN (").Texts(chunk).Add(") ORDER BY order_no"+locking).Query(b.tx, &found)
		if err != nil {
			return nil, fmt.Errorf("read %d headers: %w", len(chunk), err)
		}
		for _, h := range found {
			known[h.OrderNo] = h
		}
	}
	return known, nil
}

// Receipts returns the receipts of reservations that exist.
func (b Bulk) Receipts(headers []Header) (map[string]stock.Receipt, error) {
	receipts := make(map[string]stock.Receipt, len(headers))
	var orderNos []string
	for _, h := range headers {
		receipts[h.OrderNo] = stock.Receipt{OrderNo: h.OrderNo, Strategy: h.Strategy}
		orderNos = append(orderNos, h.OrderNo)
	}
	for chunk := range slices.Chunk(statement.SortUnique(orderNos), statement.KeyChunk) {
		var lines []struct {
			OrderNo           string
			stock.ReceiptLine `gorm:"embedded"`
		}
		err := statement.New(len(chunk), statement.KeySize, `SELECT l.order_no, l.sku, p.title, l.quantity, l.unit_price_cents
			FROM all_reservation_lines AS l JOIN products AS p ON p.sku = l.sku
			WHERE l.order_no IN (`).Texts(chunk).Add(") ORDER BY l.order_no, l.sku").Query(b.tx, &lines)
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

// Lines returns the lines of each order, whose header the caller has locked, in SKU order.
func (b Bulk) Lines(headers []Header) (map[string][]stock.Line, error) {
	lines := make(map[string][]stock.Line, len(headers))
	var orderNos []string // whose lines are not in their header
	for _, h := range headers {
		if h.SKU != nil {
			lines[h.OrderNo] = []stock.Line{{SKU: *h.SKU, Quantity: h.Quantity}}
			continue
		}
		orderNos = append(orderNos, h.OrderNo)
	}
	for chunk := range slices.Chunk(statement.SortUnique(orderNos), statement.KeyChunk) {
		var found []struct {
			OrderNo    string
			stock.Line `gorm:"embedded"`
		}
		err := statement.New(len(chunk), statement.KeySize, `SELECT order_no, sku, quantity FROM reservation_lines FORCE INDEX (PRIMARY)
			WHERE order_no IN (`).Texts(chunk).Add(") ORDER BY order_no, sku").Query(b.tx, &found)
		if err != nil {
			return nil, fmt.Errorf("read the lines of %d orders: %w", len(chunk), err)
		}
		for _, l := range found {
			lines[l.OrderNo] = append(lines[l.OrderNo], l.Line)
		}
	}
	return lines, nil
}

// Insert writes new reservations with their lines, and sorts them. database.IsDuplicate reports that one of the orders
// exists. The INSERT is a plain one, because a count of affected rows would not say which of the orders existed.
func (b Bulk) Insert(all []NewReservation) error {
	slices.SortFunc(all, func(x, y NewReservation) int { return cmp.Compare(x.Receipt.OrderNo, y.Receipt.OrderNo) })
	var compact, full []NewReservation
	for _, r := range all {
		if b.compact && len(r.Receipt.Lines) == 1 {
			compact = append(compact, r)
			continue
		}
		full = append(full, r)
	}
	if err := b.insertCompact(compact); err != nil {
		return err
	}
	return b.insertFull(full)
}

// insertCompact writes orders of one line, a row each. The status is the column's default.
func (b Bulk) insertCompact(all []NewReservation) error {
	if len(all) == 0 {
		return nil
	}
	rows := statement.New(len(all), statement.CompactSize, "INSERT INTO reservations (order_no, strategy, sku, quantity, unit_price_cents) VALUES ")
	for i, r := range all {
		l := r.Receipt.Lines[0]
		rows.Comma(i).Add("(").Text(r.Receipt.OrderNo).Add(",").Text(r.Receipt.Strategy).Add(",").Text(l.SKU)
		rows.Add(",").Number(l.Quantity).Add(",").Number(l.UnitPriceCents).Add(")")
	}
	if _, err := rows.Exec(b.tx); err != nil {
		return fmt.Errorf("insert %d reservations: %w", len(all), err)
	}
	return nil
}

const insertHeaders = "INSERT INTO reservations (order_no, status, request_hash, strategy) VALUES "

// insertFull writes headers and lines.
func (b Bulk) insertFull(all []NewReservation) error {
	if len(all) == 0 {
		return nil
	}
	headers := statement.New(len(all), statement.HeaderSize, insertHeaders)
	lines := statement.New(len(all), statement.LineSize, "INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents) VALUES ")
	count := 0
	for i, r := range all {
		headers.Comma(i).Add("(").Text(r.Receipt.OrderNo).Add(",'reserved',").Text(r.hash()).Add(",").Text(r.Receipt.Strategy).Add(")")
		for _, l := range r.Receipt.Lines {
			lines.Comma(count).Add("(").Text(r.Receipt.OrderNo).Add(",").Text(l.SKU)
			lines.Add(",").Number(l.Quantity).Add(",").Number(l.UnitPriceCents).Add(")")
			count++
		}
	}
	if _, err := headers.Exec(b.tx); err != nil {
		return fmt.Errorf("insert %d headers: %w", len(all), err)
	}
	if _, err := lines.Exec(b.tx); err != nil {
		return fmt.Errorf("insert %d lines: %w", count, err)
	}
	return nil
}

func (r NewReservation) hash() string {
	if r.Hash != "" {
		return r.Hash
	}
	var request stock.Request
	for _, l := range r.Receipt.Lines {
		request.Lines = append(request.Lines, stock.Line{SKU: l.SKU, Quantity: l.Quantity})
	}
	return request.Hash()
}

// InsertTombstones writes the tombstones of orders without a header. database.IsDuplicate reports that one of them
// exists.
func (b Bulk) InsertTombstones(orderNos []string) error {
	tombstones := statement.New(len(orderNos), statement.HeaderSize, insertHeaders)
	for i, no := range statement.SortUnique(orderNos) {
		tombstones.Comma(i).Add("(").Text(no).Add(",'void','','')")
	}
	if _, err := tombstones.Exec(b.tx); err != nil {
		return fmt.Errorf("insert %d tombstones: %w", len(orderNos), err)
	}
	return nil
}

// End gives reserved headers, which the caller has locked, their final status. No order may be named twice.
func (b Bulk) End(orderNos []string, status stock.Status) error {
	for chunk := range slices.Chunk(slices.Sorted(slices.Values(orderNos)), statement.KeyChunk) {
		ended, err := statement.New(len(chunk), statement.KeySize, "UPDATE reservations FORCE INDEX (PRIMARY) SET status = ").Text(string(status)).
			Add(", updated_at = UTC_TIMESTAMP(6) WHERE status = 'reserved' AND order_no IN (").Texts(chunk).Add(")").Exec(b.tx)
		if err != nil {
			return fmt.Errorf("mark %d orders %s: %w", len(chunk), status, err)
		}
		if ended != int64(len(chunk)) {
			return fmt.Errorf("%w: of %d orders only %d could be marked %s", stock.ErrInconsistent, len(chunk), ended, status)
		}
	}
	return nil
}

// Counter is a column of the stock row.
type Counter string

// The counters between which units move.
const (
	Available Counter = "available"
	Reserved  Counter = "reserved"
	Sold      Counter = "sold"
)

// Shift moves units of SKUs, whose rows the caller has locked, from one counter to another. It returns an error when a
// counter is lower than the ledger says.
func (b Bulk) Shift(units map[string]int64, from, to Counter) error {
	for skus := range slices.Chunk(slices.Sorted(maps.Keys(units)), statement.CaseChunk) {
		u := statement.New(len(skus), 5*statement.KeySize, "UPDATE stock FORCE INDEX (PRIMARY) SET ")
		u.Add(string(from)+" = "+string(from)+" - ").UnitsOf(skus, units)
		u.Add(", "+string(to)+" = "+string(to)+" + ").UnitsOf(skus, units)
		u.Add(", version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku IN (").Texts(skus)
		u.Add(") AND "+string(from)+" >= ").UnitsOf(skus, units)
		moved, err := u.Exec(b.tx)
		if err != nil {
			return fmt.Errorf("move units of %d SKUs from %s to %s: %w", len(skus), from, to, err)
		}
		if moved != int64(len(skus)) {
			return fmt.Errorf("%w: of %d SKUs only %d have the units that were counted as %s", stock.ErrInconsistent, len(skus), moved, from)
		}
	}
	return nil
}
