package store_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/database"
	"holdfast/sql"
)

// schemaBefore is the schema without the migrations from that one on.
func schemaBefore(t *testing.T, first string) fs.FS {
	t.Helper()
	files, err := fs.Glob(sql.Inventory(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	old := fstest.MapFS{}
	for _, name := range files {
		if name >= first {
			continue
		}
		b, err := fs.ReadFile(sql.Inventory(), name)
		if err != nil {
			t.Fatal(err)
		}
		old[name] = &fstest.MapFile{Data: b}
	}
	return old
}

// oldOrders is how many reservations the version before has written: four steps of the conversion and a rest.
const oldOrders = 2100

// newOldStore returns a database that the version before has written and this one has migrated: reservations of one and
// of two lines in every status, and tombstones.
func newOldStore(t *testing.T) (s *store.Store, db *gorm.DB, dsn string) {
	t.Helper()
	dsn = dbtest.NewDSN(t, schemaBefore(t, "0007"))
	db = dbtest.Open(t, dsn, database.Options{})
	for _, statement := range []string{
		"INSERT INTO products (sku, title, price_cents, created_at) VALUES ('MUG', 'Mug', 1290, UTC_TIMESTAMP(6)), ('CAP', 'Cap', 990, UTC_TIMESTAMP(6))",
		"INSERT INTO stock (sku, updated_at) VALUES ('MUG', UTC_TIMESTAMP(6)), ('CAP', UTC_TIMESTAMP(6))",
	} {
		if err := db.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	units := map[string]map[string]int64{"MUG": {}, "CAP": {}}
	statuses := []string{"reserved", "confirmed", "released", "void"}
	for i := range oldOrders {
		no, status := fmt.Sprintf("OLD-%05d", i), statuses[i%4]
		r := stock.Request{Lines: []stock.Line{{SKU: "MUG", Quantity: int64(i%3 + 1)}}}
		if i%7 == 0 {
			r.Lines = append([]stock.Line{{SKU: "CAP", Quantity: 2}}, r.Lines...)
		}
		hash, by := r.Hash(), "conditional"
		if status == "void" {
			r.Lines, hash, by = nil, "", ""
		}
		if err := db.Exec("INSERT INTO reservations (order_no, status, request_hash, strategy) VALUES (?, ?, ?, ?)", no, status, hash, by).Error; err != nil {
			t.Fatal(err)
		}
		for _, l := range r.Lines {
			units[l.SKU][status] += l.Quantity
			err := db.Exec("INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents) VALUES (?, ?, ?, 100)", no, l.SKU, l.Quantity).Error
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for sku, of := range units {
		err := db.Exec("UPDATE stock SET available = 100000, reserved = ?, sold = ? WHERE sku = ?", of["reserved"], of["confirmed"], sku).Error
		if err != nil {
			t.Fatal(err)
		}
		err = db.Exec(`INSERT INTO stock_inbound (sku, quantity, reference, reason, actor, created_at) VALUES (?, ?, ?, '', '', UTC_TIMESTAMP(6))`,
			sku, 100_000+of["reserved"]+of["confirmed"], sku).Error
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := database.Migrate(t.Context(), db, sql.Inventory(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return openStore(t, db), db, dsn
}

// openStore is a replica that has read which form it may write.
func openStore(t *testing.T, db *gorm.DB) *store.Store {
	t.Helper()
	s := store.New(db, strategy.Layouts())
	if err := s.ReadForm(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// take reserves one mug, whose counter it moves.
func take(ctx context.Context, s *store.Store, no string, quantity int64) (stock.Receipt, error) {
	r := stock.Request{OrderNo: no, Strategy: "conditional", Lines: []stock.Line{{SKU: "MUG", Quantity: quantity}}}
	return s.Ledger().Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		return tx.Exec("UPDATE stock SET available = available - ?, reserved = reserved + ?, version = version + 1 WHERE sku = ?",
			lines[0].Quantity, lines[0].Quantity, lines[0].SKU).Error
	})
}

// moveOn moves reserved units to the counter.
func moveOn(counter string) store.End {
	return func(tx *gorm.DB, _ string, lines []stock.Line) error {
		for _, l := range lines {
			err := tx.Exec("UPDATE stock SET reserved = reserved - ?, "+counter+" = "+counter+" + ?, version = version + 1 WHERE sku = ?",
				l.Quantity, l.Quantity, l.SKU).Error
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// count returns a number that the database counts.
func count(t *testing.T, db *gorm.DB, query string) int64 {
	t.Helper()
	var n int64
	if err := db.Raw(query).Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

const notConverted = `SELECT COUNT(*) FROM (SELECT order_no FROM reservation_lines GROUP BY order_no HAVING COUNT(*) = 1) AS l`

// wantAudit checks the ledger's equations.
func wantAudit(t *testing.T, s *store.Store) {
	t.Helper()
	audit, err := s.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range audit.Entries {
		if e.Inbound != e.Available+e.Reserved+e.Sold || e.Reserved != e.LinesReserved || e.Sold != e.LinesConfirmed {
			t.Errorf("the ledger does not agree: %+v", e)
		}
	}
}

// pages returns all reservations, and fails if one page has an order without its lines.
func pages(t *testing.T, s *store.Store) map[string][]stock.Line {
	t.Helper()
	all := map[string][]stock.Line{}
	for after := ""; ; {
		page, err := s.Reservations(t.Context(), after, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		for _, r := range page {
			if (len(r.Lines) == 0) != (r.Status == stock.Void) {
				t.Errorf("%s is %s and has the lines %v", r.OrderNo, r.Status, r.Lines)
			}
			all[r.OrderNo] = r.Lines
		}
		after = page[len(page)-1].OrderNo
	}
}

// TestConvertReservations converts the rows of the version before while orders are placed and ended by two replicas, of
// which one still writes the old form at first, and while the pages are read. The conversion is cut off twice.
func TestConvertReservations(t *testing.T) {
	t.Parallel()
	s, db, dsn := newOldStore(t)
	before := pages(t, s)
	old := openStore(t, dbtest.Open(t, dsn, database.Options{}))
	if n := count(t, db, "SELECT compact + done FROM reservation_form"); n != 0 {
		t.Fatal("a database with reservations allows compact ones: a replica of the version before would not find their lines")
	}
	if err := s.WriteCompact(t.Context()); err != nil {
		t.Fatal(err)
	}
	busy := goSell(t, s, old)
	readers := goRead(t, s)
	for range 2 { // a step, and one that is cut off in the middle
		if _, err := s.ConvertStep(t.Context()); err != nil {
			t.Fatal(err)
		}
		cutOff(t, db, s)
	}
	if err := old.ReadForm(t.Context()); err != nil { // as every replica does: what it has written before is converted
		t.Fatal(err)
	}
	for step, done := 1, false; !done; step++ {
		var err error
		if done, err = s.ConvertStep(t.Context()); err != nil || step == 1000 {
			t.Fatalf("step %d: %v", step, err)
		}
	}
	busy()
	readers()
	if n := count(t, db, notConverted); n != 0 {
		t.Errorf("%d reservations of one line are not compact", n)
	}
	after := pages(t, s)
	for no, lines := range before {
		if diff := cmp.Diff(lines, after[no]); diff != "" {
			t.Errorf("%s has other lines than before (-before +after):\n%s", no, diff)
		}
	}
	wantAudit(t, s)
	if receipt, err := take(t.Context(), old, "OLD-00001", 2); err != nil || receipt.Lines[0].UnitPriceCents != 100 {
		t.Errorf("the repeat of a converted order: %+v, %v", receipt, err)
	}
	if _, err := take(t.Context(), s, "OLD-00001", 3); err == nil {
		t.Error("another request with the number of a converted order was answered")
	}
}

// cutOff has a step fail between the writes of a transaction, as a crash would.
func cutOff(t *testing.T, db *gorm.DB, s *store.Store) {
	t.Helper()
	if err := db.Exec("RENAME TABLE reservation_form TO moved").Error; err != nil {
		t.Fatal(err)
	}
	if err := db.Exec("CREATE VIEW reservation_form AS SELECT id, compact, converted_to, converted + 0 AS converted, done FROM moved").Error; err != nil {
		t.Fatal(err)
	}
	position := count(t, db, notConverted)
	if _, err := s.ConvertStep(t.Context()); err == nil { // its last statement cannot write a computed column
		t.Error("the step was not cut off: this run has shown nothing")
	}
	if n := count(t, db, notConverted); n < position {
		t.Errorf("a step that failed has converted %d reservations", position-n)
	}
	for _, statement := range []string{"DROP VIEW reservation_form", "RENAME TABLE moved TO reservation_form"} {
		if err := db.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
}

// goSell has two replicas reserve, confirm and release orders, each also those of the other, until stop is called.
func goSell(t *testing.T, one, two *store.Store) (stop func()) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // the sellers stop before the test ends
	var stopped atomic.Bool
	var sellers sync.WaitGroup
	for i := range 4 {
		sellers.Go(func() {
			for n := 0; !stopped.Load(); n++ {
				by, other := one, two
				if (i+n)%2 == 0 {
					by, other = two, one
				}
				no := fmt.Sprintf("OLD-%05d-%d-%d", (n*97)%oldOrders, i, n)
				first, err := take(ctx, by, no, 2)
				again, errAgain := take(ctx, other, no, 2)
				if err != nil || errAgain != nil || !cmp.Equal(first, again) {
					t.Errorf("reserve %s: %v; by the other replica: %v\n%s", no, err, errAgain, cmp.Diff(first, again))
					return
				}
				if n%2 == 0 {
					err = other.Ledger().Confirm(ctx, no, moveOn("sold"))
				} else {
					err = other.Ledger().Release(ctx, no, moveOn("available"))
				}
				if err != nil {
					t.Errorf("end %s: %v", no, err)
					return
				}
			}
		})
	}
	stop = func() {
		stopped.Store(true)
		sellers.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// goRead reads all pages and the audit until stop is called. Each must be whole.
func goRead(t *testing.T, s *store.Store) (stop func()) {
	t.Helper()
	var stopped atomic.Bool
	var reader sync.WaitGroup
	reader.Go(func() {
		for !stopped.Load() {
			pages(t, s)
			wantAudit(t, s)
		}
	})
	stop = func() {
		stopped.Store(true)
		reader.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// TestReservations_form writes the form that the database allows: the version before must find the lines of a replica
// that runs beside it.
func TestReservations_form(t *testing.T) {
	t.Parallel()
	s, db, _ := newOldStore(t)
	for inRow, no := range []string{"FULL", "COMPACT"} {
		if inRow == 1 {
			if err := s.WriteCompact(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := take(t.Context(), s, no, 1); err != nil {
			t.Fatal(err)
		}
		got := count(t, db, "SELECT COUNT(*) FROM reservations WHERE sku = 'MUG' AND request_hash = '' AND order_no = '"+no+"'")
		lines := count(t, db, "SELECT COUNT(*) FROM reservation_lines WHERE order_no = '"+no+"'")
		if got != int64(inRow) || lines != int64(1-inRow) {
			t.Errorf("%s: %d lines in the row and %d beside it", no, got, lines)
		}
	}
}

// TestConvertReservations_inBackground ends at once in a new database, which has compact reservations from the start.
func TestConvertReservations_inBackground(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	mustStock(t, s, 10)
	reserve(t, s, "HELD", 2)
	var log strings.Builder
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.ConvertReservations(ctx, slog.New(slog.NewTextHandler(&log, nil))) // a new database has nothing to convert
	if ctx.Err() != nil || log.Len() > 0 {
		t.Errorf("error %v, log %q", ctx.Err(), log.String())
	}
	if n := count(t, db, "SELECT COUNT(*) FROM reservations WHERE sku = 'MUG'"); n != 1 {
		t.Errorf("%d compact reservations, want 1", n)
	}
}
