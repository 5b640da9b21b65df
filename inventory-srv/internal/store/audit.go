package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"holdfast/pkg/database"
)

// Entry is one SKU's side of the equations that the checker tests: inbound = available + reserved + sold, reserved =
// Σ lines of reserved reservations, sold = Σ lines of confirmed ones.
type Entry struct {
	SKU            string
	Layout         string
	Inbound        int64
	Available      int64
	Reserved       int64
	Sold           int64
	LinesReserved  int64
	LinesConfirmed int64
}

// Audit is the whole ledger, in SKU order, at one moment.
type Audit struct {
	TakenAt time.Time
	Cutoff  string // up to this order number the lines are of the roll-up
	Entries []Entry
}

// Audit reads counters and sums in one consistent snapshot, so that no sale in flight looks like a fault. The lines up
// to the cut-off of [Store.RollUp] come from the roll-up. A SKU with lines or inbounds but without a stock row has an
// entry too, with counters of zero. stock.ErrAuditTimeout when the time of ctx ends.
func (s *Store) Audit(ctx context.Context) (Audit, error) {
	var out Audit
	err := database.InTx(ctx, s.db, func(tx *gorm.DB) (err error) {
		out, err = s.readAudit(tx)
		return err
	}, database.Snapshot())
	if err != nil {
		return Audit{}, auditFault(ctx, fmt.Errorf("audit: %w", err))
	}
	return out, nil
}

func (s *Store) readAudit(tx *gorm.DB) (Audit, error) {
	var out Audit
	if err := tx.Raw("SELECT UTC_TIMESTAMP(6)").Scan(&out.TakenAt).Error; err != nil {
		return Audit{}, fmt.Errorf("read the clock: %w", err)
	}
	if err := bounded(tx, "SELECT sku, layout FROM stock ORDER BY sku").Scan(&out.Entries).Error; err != nil {
		return Audit{}, fmt.Errorf("read the stock rows: %w", err)
	}
	place := make(map[string]int, len(out.Entries))
	for i, e := range out.Entries {
		place[e.SKU] = i
	}
	entry := func(sku string) *Entry {
		i, ok := place[sku]
		if !ok {
			i = len(out.Entries)
			place[sku] = i
			out.Entries = append(out.Entries, Entry{SKU: sku})
		}
		return &out.Entries[i]
	}
	if err := s.addTotals(tx, entry); err != nil {
		return Audit{}, err
	}
	if err := addInbound(tx, entry); err != nil {
		return Audit{}, err
	}
	var err error
	if out.Cutoff, err = addLines(tx, entry); err != nil {
		return Audit{}, err
	}
	slices.SortFunc(out.Entries, func(a, b Entry) int { return strings.Compare(a.SKU, b.SKU) })
	return out, nil
}

// addTotals adds up the units of all layouts. A SKU may have units in other layouts than its own: sold units stay in
// the layout in which they were sold.
func (s *Store) addTotals(tx *gorm.DB, entry func(sku string) *Entry) error {
	for _, l := range s.layouts {
		var sums []Entry
		if err := bounded(tx, l.Totals()).Scan(&sums).Error; err != nil {
			return fmt.Errorf("sum up the layout %s: %w", l.Name(), err)
		}
		for _, sum := range sums {
			e := entry(sum.SKU)
			e.Available += sum.Available
			e.Reserved += sum.Reserved
			e.Sold += sum.Sold
		}
	}
	return nil
}

func addInbound(tx *gorm.DB, entry func(sku string) *Entry) error {
	var sums []struct {
		SKU   string
		Units int64
	}
	err := bounded(tx, "SELECT sku, CAST(SUM(quantity) AS SIGNED) AS units FROM stock_inbound GROUP BY sku").Scan(&sums).Error
	if err != nil {
		return fmt.Errorf("sum up the inbounds: %w", err)
	}
	for _, s := range sums {
		entry(s.SKU).Inbound = s.Units
	}
	return nil
}

// addLines adds the roll-up and the lines of the reservations after its cut-off, in batches: no statement is long.
func addLines(tx *gorm.DB, entry func(sku string) *Entry) (cutoff string, err error) {
	if cutoff, err = readCutoff(tx, ""); err != nil {
		return "", err
	}
	var sums []lineSum
	if err := tx.Raw("SELECT sku, 0 AS reserved, confirmed FROM ledger_rollup").Scan(&sums).Error; err != nil {
		return "", fmt.Errorf("read the roll-up: %w", err)
	}
	for after := cutoff; ; {
		for _, l := range sums {
			e := entry(l.SKU)
			e.LinesReserved += l.Reserved
			e.LinesConfirmed += l.Confirmed
		}
		if after == lastOrderNo {
			return cutoff, nil
		}
		through, err := batchEnd(tx, after, lastOrderNo)
		if err != nil {
			return "", err
		}
		if sums, err = sumLines(tx, after, through); err != nil {
			return "", err
		}
		after = through
	}
}

// bounded is a query that the server ends when the deadline of tx passes. Without it the server would read on after its
// caller has given up. MariaDB executes what MySQL takes for a comment, and the other way round.
func bounded(tx *gorm.DB, query string, args ...any) *gorm.DB {
	deadline, ok := tx.Statement.Context.Deadline()
	if !ok {
		return tx.Raw(query, args...)
	}
	left := max(time.Until(deadline), time.Millisecond)
	hint := fmt.Sprintf("SELECT /*+ MAX_EXECUTION_TIME(%d) */", max(1, left.Milliseconds()))
	return tx.Raw(fmt.Sprintf("/*M!100100 SET STATEMENT max_statement_time=%.3f FOR */ ", left.Seconds())+strings.Replace(query, "SELECT", hint, 1), args...)
}

// lastOrderNo is after every order number.
const lastOrderNo = "~"
