package redisstock

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/statement"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/database"
)

// Operation is the operation that an entry of the stream records.
type Operation string

// The operations.
const (
	EntryBegin   Operation = "begin"   // of an epoch
	EntryReserve Operation = "reserve" // of an order
	EntryConfirm Operation = "confirm"
	EntryRelease Operation = "release"
	EntryClose   Operation = "close" // a SKU's free units become unallocated stock
)

// StreamEntry is one entry of the stream.
type StreamEntry struct {
	ID            string
	Operation     Operation
	OrderNo       string
	Hash          string
	Lines         []store.PricedLine
	ToUnallocated []string // the SKUs of the lines whose units become unallocated stock
}

// Refused is an entry that contradicts the ledger. It is recorded, and Redis has to compensate it.
type Refused struct {
	EntryID string
	OrderNo string
	Lines   []store.PricedLine
	Sign    int // 1: Redis returns the lines, -1: Redis takes them again, 0: neither
}

// ErrDrift means that the counters of Redis and MySQL contradict each other.
var ErrDrift = errors.New("the stream takes more than MySQL knows of")

// Follow applies entries, which follow the entry after of that epoch, in one transaction with the new position. It
// skips entries that are applied, so that the caller may repeat it after any error. ErrStaleWriter, ErrDrift.
func (p *Projection) Follow(ctx context.Context, token, epoch int64, after, by string, entries []StreamEntry) error {
	return p.ledger.InBulk(ctx, func(tx *gorm.DB, b store.Bulk) error {
		was, err := lockPosition(tx, token)
		if err != nil {
			return err
		}
		if was.Epoch != epoch || !was.Open {
			return ErrStaleWriter
		}
		entries := entries
		if was.AppliedID != after {
			i := slices.IndexFunc(entries, func(e StreamEntry) bool { return e.ID == was.AppliedID })
			if i < 0 {
				return ErrStaleWriter
			}
			entries = entries[i+1:]
		}
		if len(entries) == 0 {
			return nil
		}
		f := following{bulk: b, tx: tx, epoch: epoch, by: by, counters: map[string]counters{}, unallocated: map[string]int64{}}
		if err := f.apply(entries); err != nil {
			return err
		}
		last := entries[len(entries)-1]
		err = tx.Exec("UPDATE redis_stream SET applied_id = ? WHERE id = 1", last.ID).Error
		if err != nil {
			return fmt.Errorf("write the position: %w", err)
		}
		return nil
	})
}

// counters is the change of a SKU's counters.
type counters struct{ available, reserved, sold int64 }

// following applies the entries of one transaction. It decides in memory, entry by entry, and then writes the results.
type following struct {
	bulk  store.Bulk
	tx    *gorm.DB
	epoch int64
	by    string

	headers     map[string]store.Header
	fresh       []store.NewReservation    // orders of this transaction
	ended       map[stock.Status][]string // orders that end in it
	counters    map[string]counters
	unallocated map[string]int64 // units that become unallocated stock
	refused     *statement.Statement
	refusals    int
}

func (f *following) apply(entries []StreamEntry) error {
	var orders, rows []string
	for _, e := range entries {
		if e.OrderNo != "" {
			orders = append(orders, e.OrderNo)
		}
		rows = append(rows, e.ToUnallocated...)
	}
	var err error
	if f.headers, err = f.bulk.LockHeaders(orders); err != nil {
		return err
	}
	if err := f.lockStockRows(statement.SortUnique(rows)); err != nil {
		return err
	}
	f.ended = map[stock.Status][]string{}
	for _, e := range entries {
		f.decide(e)
	}
	return f.write()
}

// lockStockRows locks the stock rows, which come before the rows of all layouts.
func (f *following) lockStockRows(skus []string) error {
	if len(skus) == 0 {
		return nil
	}
	var found []string
	err := f.tx.Raw("SELECT sku FROM stock FORCE INDEX (PRIMARY) WHERE sku IN ? ORDER BY sku FOR UPDATE", skus).Scan(&found).Error
	if err != nil {
		return fmt.Errorf("lock the stock rows: %w", err)
	}
	return nil
}

func (f *following) decide(e StreamEntry) {
	h, known := f.headers[e.OrderNo]
	switch {
	case e.Operation == EntryBegin:
	case e.Operation == EntryClose:
		for _, l := range e.Lines {
			f.move(l, counters{available: -1})
			f.unallocated[l.SKU] += l.Quantity
		}
	case e.Operation == EntryReserve && !known:
		f.headers[e.OrderNo] = store.Header{OrderNo: e.OrderNo, Status: stock.Reserved, RequestHash: e.Hash, Strategy: f.by}
		f.reserve(e)
	case e.Operation == EntryReserve:
		f.refuse(e, fmt.Sprintf("the order is %s by %q", h.Status, h.Strategy), 1)
	case !known || h.Strategy != f.by:
		f.refuse(e, "MySQL has no such reservation", 0)
	case h.Status != stock.Reserved:
		sign := 0
		if e.Operation == EntryRelease {
			sign = -1
		}
		f.refuse(e, "the order is "+string(h.Status), sign)
	default:
		f.end(h, e)
	}
}

func (f *following) reserve(e StreamEntry) {
	receipt := stock.Receipt{OrderNo: e.OrderNo, Strategy: f.by}
	for _, l := range e.Lines {
		receipt.Lines = append(receipt.Lines, stock.ReceiptLine{SKU: l.SKU, Quantity: l.Quantity, UnitPriceCents: l.UnitPriceCents})
		f.move(l, counters{available: -1, reserved: 1})
	}
	f.fresh = append(f.fresh, store.NewReservation{Hash: e.Hash, Receipt: receipt})
}

func (f *following) end(h store.Header, e StreamEntry) {
	h.Status = stock.Confirmed
	if e.Operation == EntryRelease {
		h.Status = stock.Released
	}
	f.headers[h.OrderNo] = h
	f.ended[h.Status] = append(f.ended[h.Status], h.OrderNo)
	for _, l := range e.Lines {
		switch {
		case h.Status == stock.Confirmed:
			f.move(l, counters{reserved: -1, sold: 1})
		case slices.Contains(e.ToUnallocated, l.SKU):
			f.move(l, counters{reserved: -1})
			f.unallocated[l.SKU] += l.Quantity
		default:
			f.move(l, counters{reserved: -1, available: 1})
		}
	}
}

func (f *following) move(l store.PricedLine, by counters) {
	c := f.counters[l.SKU]
	c.available += by.available * l.Quantity
	c.reserved += by.reserved * l.Quantity
	c.sold += by.sold * l.Quantity
	f.counters[l.SKU] = c
}

// refuse records an entry. The writer compensates it later.
func (f *following) refuse(e StreamEntry, reason string, sign int) {
	if f.refused == nil {
		f.refused = statement.New(1, statement.HeaderSize, "INSERT INTO redis_quarantine (epoch, entry_id, operation, order_no, order_lines, reason, sign) VALUES ")
	}
	var inRedis []store.PricedLine
	for _, l := range e.Lines {
		if !slices.Contains(e.ToUnallocated, l.SKU) {
			inRedis = append(inRedis, l)
		}
	}
	f.refused.Comma(f.refusals).Add("(").Number(f.epoch).Add(",").Text(e.ID).Add(",").Text(string(e.Operation)).Add(",").Text(e.OrderNo)
	f.refused.Add(",").Text(FormatLines(inRedis)).Add(",").Text(reason).Add(",").Number(int64(sign)).Add(")")
	f.refusals++
}

func (f *following) write() error {
	if len(f.fresh) > 0 {
		if err := f.bulk.Insert(f.fresh); err != nil {
			return err
		}
	}
	for _, status := range []stock.Status{stock.Confirmed, stock.Released} {
		if err := f.bulk.End(f.ended[status], status); err != nil {
			return err
		}
	}
	if f.refused != nil {
		if _, err := f.refused.Exec(f.tx); err != nil {
			return fmt.Errorf("write the quarantine: %w", err)
		}
	}
	for _, sku := range slices.Sorted(maps.Keys(f.unallocated)) {
		res := f.tx.Exec("UPDATE stock SET available = available + ?, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?", f.unallocated[sku], sku)
		if res.Error != nil || res.RowsAffected != 1 {
			return fmt.Errorf("add to the unallocated stock of %s (%d rows): %w", sku, res.RowsAffected, errors.Join(res.Error, ErrDrift))
		}
	}
	return f.count()
}

// count changes the counters of all SKUs by the sums of all entries.
func (f *following) count() error {
	for skus := range slices.Chunk(slices.Sorted(maps.Keys(f.counters)), statement.CaseChunk) {
		u := statement.New(len(skus), 5*statement.KeySize, "UPDATE stock_redis FORCE INDEX (PRIMARY) SET ")
		for _, column := range []struct {
			name string
			of   func(counters) int64
		}{
			{"available", func(c counters) int64 { return c.available }},
			{"reserved", func(c counters) int64 { return c.reserved }},
			{"sold", func(c counters) int64 { return c.sold }},
		} {
			units := make(map[string]int64, len(skus))
			for _, sku := range skus {
				units[sku] = column.of(f.counters[sku])
			}
			u.Add(column.name+" = "+column.name+" + ").UnitsOf(skus, units)
			u.Add(", ")
		}
		u.Add("version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku IN (").Texts(skus).Add(")")
		n, err := u.Exec(f.tx)
		switch {
		case database.IsCheckViolated(err):
			return fmt.Errorf("%w: %w", ErrDrift, err)
		case err != nil:
			return fmt.Errorf("write the counters of %d SKUs: %w", len(skus), err)
		case n != int64(len(skus)):
			return fmt.Errorf("%w: of %d SKUs only %d are in Redis", ErrDrift, len(skus), n)
		}
	}
	return nil
}

// ToCompensate returns the refused entries of the epoch that Redis has not compensated.
func (p *Projection) ToCompensate(ctx context.Context, epoch int64) ([]Refused, error) {
	var found []struct {
		EntryID    string
		OrderNo    string
		OrderLines string
		Sign       int
	}
	err := p.db.WithContext(ctx).Raw(`SELECT entry_id, order_no, order_lines, sign FROM redis_quarantine
		WHERE epoch = ? AND compensated_at IS NULL ORDER BY entry_id`, epoch).Scan(&found).Error
	if err != nil {
		return nil, database.Fault(fmt.Errorf("read the quarantine: %w", err))
	}
	refused := make([]Refused, len(found))
	for i, r := range found {
		lines, err := ParseLines(r.OrderLines)
		if err != nil {
			return nil, err
		}
		refused[i] = Refused{EntryID: r.EntryID, OrderNo: r.OrderNo, Lines: lines, Sign: r.Sign}
	}
	return refused, nil
}

// MarkCompensated records that Redis has compensated a refused entry.
func (p *Projection) MarkCompensated(ctx context.Context, epoch int64, entryID string) error {
	err := p.db.WithContext(ctx).Exec("UPDATE redis_quarantine SET compensated_at = UTC_TIMESTAMP(6) WHERE epoch = ? AND entry_id = ?", epoch, entryID).Error
	if err != nil {
		return database.Fault(fmt.Errorf("write the quarantine: %w", err))
	}
	return nil
}

// FormatLines formats lines for the stream: "SKU quantity price", joined by semicolons.
func FormatLines(lines []store.PricedLine) string {
	var out strings.Builder
	for i, l := range lines {
		if i > 0 {
			out.WriteByte(';')
		}
		fmt.Fprintf(&out, "%s %d %d", l.SKU, l.Quantity, l.UnitPriceCents)
	}
	return out.String()
}

// ParseLines parses the format of FormatLines.
func ParseLines(text string) ([]store.PricedLine, error) {
	if text == "" {
		return nil, nil
	}
	var lines []store.PricedLine
	for part := range strings.SplitSeq(text, ";") {
		sku, rest, _ := strings.Cut(part, " ")
		quantity, price, _ := strings.Cut(rest, " ")
		l := store.PricedLine{SKU: sku}
		var err error
		if l.Quantity, err = strconv.ParseInt(quantity, 10, 64); err == nil {
			l.UnitPriceCents, err = strconv.ParseInt(price, 10, 64)
		}
		if err != nil || !stock.ValidSKU(sku) {
			return nil, fmt.Errorf("the line %q of a stream entry: %w", part, errors.Join(stock.ErrInconsistent, err))
		}
		lines = append(lines, l)
	}
	return lines, nil
}
