package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/crash"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
)

// Ledger is what the strategies share. It opens the transaction, decides by the header whether the order is new, calls
// the strategy for the deduction, writes the lines and commits. A strategy that uses it holds only what makes it
// different.
type Ledger struct {
	db   *gorm.DB
	form *form
}

// Ledger returns the ledger on the store's database.
func (s *Store) Ledger() *Ledger { return s.LedgerOn(s.db) }

// LedgerOn returns the ledger on other connections to the store's database, which pkg/database opened.
func (s *Store) LedgerOn(db *gorm.DB) *Ledger { return &Ledger{db: db, form: s.form} }

// Move changes counters for the lines of one order, which come in SKU order, inside the ledger's transaction. The
// ledger calls it again, in a new transaction, when the database asks for a repetition.
type Move func(tx *gorm.DB, lines []stock.Line) error

// End is a Move at the end of a reservation that the named strategy made.
type End func(tx *gorm.DB, strategy string, lines []stock.Line) error

// Reserve writes a reservation of r, whose units deduct takes. It answers an order that exists from the ledger without
// a call of deduct: with an equal receipt, stock.ErrMismatch or stock.ErrClosed. Every other error has changed nothing,
// except one that fault.Ambiguous reports.
//
// The header is inserted before stock is read: duplicates of one order wait for its primary key. It has the line of an
// order of one line, so the price is read before it.
func (l *Ledger) Reserve(ctx context.Context, r stock.Request, deduct Move) (stock.Receipt, error) {
	if err := l.check(r); err != nil {
		return stock.Receipt{}, err
	}
	r = r.Sorted()
	var receipt stock.Receipt
	err := database.InTx(ctx, l.db, func(tx *gorm.DB) (err error) {
		receipt, err = l.reserve(tx, r, deduct)
		if err == nil {
			crash.At(crash.InventoryDeducted)
		}
		return err
	}, settleReserve(r))
	if err != nil {
		return stock.Receipt{}, notExecuted(ctx, fmt.Errorf("reserve %s: %w", r.OrderNo, err))
	}
	crash.At(crash.InventoryCommitted)
	return receipt, nil
}

// settleReserve finds a committed reservation of r.
func settleReserve(r stock.Request) database.TxOption {
	if len(r.Lines) > 1 {
		return database.SettleBy("SELECT order_no FROM reservations WHERE order_no = ? AND request_hash = ? FOR UPDATE", r.OrderNo, r.Hash())
	}
	return database.SettleBy(`SELECT order_no FROM reservations
		WHERE order_no = ? AND (request_hash = ? OR sku = ? AND quantity = ?) FOR UPDATE`, r.OrderNo, r.Hash(), r.Lines[0].SKU, r.Lines[0].Quantity)
}

func (l *Ledger) reserve(tx *gorm.DB, r stock.Request, deduct Move) (stock.Receipt, error) {
	receipt, err := price(tx, r)
	if errors.Is(err, stock.ErrUnknownSKU) {
		return replayUnknown(tx, r, err)
	}
	if err != nil {
		return stock.Receipt{}, err
	}
	compact := len(r.Lines) == 1 && l.form.compact.Load()
	h := header{OrderNo: r.OrderNo, Status: stock.Reserved, Strategy: r.Strategy}
	if compact {
		line := receipt.Lines[0]
		h.SKU, h.Quantity, h.UnitPriceCents = &line.SKU, line.Quantity, line.UnitPriceCents
	} else {
		h.RequestHash = r.Hash()
	}
	mine, err := insertHeader(tx, h)
	if err != nil {
		return stock.Receipt{}, err
	}
	if !mine {
		return replay(tx, r)
	}
	if err := deduct(tx, r.Lines); err != nil || compact {
		return receipt, err
	}
	return receipt, insertLines(tx, receipt)
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

// replayUnknown answers a request with an unknown SKU: an order that exists has other lines.
func replayUnknown(tx *gorm.DB, r stock.Request, unknown error) (stock.Receipt, error) {
	_, known, err := queryHeader(tx, selectHeader+" WHERE order_no = ?", r.OrderNo)
	if err != nil {
		return stock.Receipt{}, err
	}
	if !known {
		return stock.Receipt{}, unknown
	}
	return replay(tx, r)
}

// replay answers an order that exists. insertHeader's duplicate has locked the header.
func replay(tx *gorm.DB, r stock.Request) (stock.Receipt, error) {
	h, err := readHeader(tx, r.OrderNo)
	switch {
	case err != nil:
		return stock.Receipt{}, err
	case h.Status == stock.Released || h.Status == stock.Void:
		return stock.Receipt{}, stock.ErrClosed
	case !h.IsFor(r):
		return stock.Receipt{}, stock.ErrMismatch
	}
	return readReceipt(tx, h)
}

// Refuse returns the refusals that need no lock: stock.ErrInvalidOrderNo, stock.ErrInvalidLines and
// stock.ErrUnknownSKU. Strategies with a lock outside the database call it before they take the lock. Reserve checks
// again.
func (l *Ledger) Refuse(ctx context.Context, r stock.Request) error {
	if err := l.check(r); err != nil {
		return err
	}
	if _, err := price(l.db.WithContext(ctx), r.Sorted()); err != nil {
		return notExecuted(ctx, database.Fault(err))
	}
	return nil
}

func (l *Ledger) check(r stock.Request) error {
	if err := stock.CheckOrderNo(r.OrderNo); err != nil {
		return err
	}
	return r.Validate()
}

// StrategyOf returns the strategy that reserved an order and that confirms and releases it. It returns "" when there is
// no reservation or only a tombstone. stock.ErrInvalidOrderNo.
func (l *Ledger) StrategyOf(ctx context.Context, orderNo string) (string, error) {
	if err := stock.CheckOrderNo(orderNo); err != nil {
		return "", err
	}
	var name []string
	err := l.db.WithContext(ctx).Raw("SELECT strategy FROM reservations WHERE order_no = ?", orderNo).Scan(&name).Error
	if err != nil {
		return "", notExecuted(ctx, fmt.Errorf("look up the strategy of %s: %w", orderNo, database.Fault(err)))
	}
	if len(name) == 0 {
		return "", nil
	}
	return name[0], nil
}

// notExecuted marks an error as not executed, as database.InTx guarantees, unless the outcome of COMMIT is unknown. A
// wait that ended with the deadline is contention, which the caller may retry.
func notExecuted(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, database.ErrCommitUnknown):
		return err
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		return stock.ErrContended.Wrap(err)
	case fault.Ambiguous(err):
		return fault.From(err).NotExecuted().Wrap(err)
	}
	return err
}
