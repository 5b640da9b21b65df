package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"

	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// keep is the age below which nothing is archived.
const keep = 120 * time.Hour

// archive takes the steps up to an order number, and returns how many reservations were archived.
func archive(t *testing.T, s *store.Store, to string) (archived int) {
	t.Helper()
	for {
		step, err := s.Archive(t.Context(), to, keep)
		if err != nil {
			t.Fatal(err)
		}
		archived += step.Archived
		if step.Done {
			return archived
		}
	}
}

// TestStore_Archive: two replicas archive 3,000 reservations. The ledger, its roll-up and the pages of an audit are as
// they were, but for the reservations that held nothing.
func TestStore_Archive(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	mustStock(t, s, 100_000)
	insertReservations(t, db, stock.Confirmed, 0, 2000)
	insertReservations(t, db, stock.Released, 2000, 500)
	for i := 2500; i < 2997; i++ {
		mustExec(t, db, "INSERT INTO reservations (order_no, status, request_hash, strategy) VALUES (?, 'void', '', '')", number(i))
	}
	for i := 2997; i < 3000; i++ { // of two lines, the second of another SKU
		mustExec(t, db, "INSERT INTO reservations (order_no, status, request_hash, strategy) VALUES (?, 'confirmed', 'h', 'test')", number(i))
		mustExec(t, db, "INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents) VALUES (?, 'MUG', 1, 100), (?, 'CAP', 2, 50)", number(i), number(i))
	}
	mustExec(t, db, "UPDATE stock SET sold = sold + 3, available = available - 3 WHERE sku = 'MUG'")
	insertReservations(t, db, stock.Reserved, 3000, 2)
	for i := range 3 {
		mustExec(t, db, "INSERT INTO reserve_answers (order_no, delivery, refused, answered_at) VALUES (?, '', 0, UTC_TIMESTAMP(6))", number(1500*i))
	}
	if _, cutoff := rollUp(t, s, number(1200)); cutoff != number(1200) {
		t.Fatalf("rolled up to %s", cutoff)
	}
	before, err := s.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	held := pages(t, s)
	wantAudit := func(what string) {
		t.Helper()
		after, err := s.Audit(t.Context())
		if diff := cmp.Diff(before.Entries, after.Entries); err != nil || diff != "" {
			t.Errorf("%s: error %v, entries (-want +got):\n%s", what, err, diff)
		}
	}
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() { archive(t, s, number(2999)) })
	}
	running.Wait()
	wantAudit("archived")
	if _, cutoff := rollUp(t, s, number(2999)); cutoff != number(2999) {
		t.Errorf("rolled up to %s", cutoff)
	}
	wantAudit("archived and rolled up")
	if _, _, err := s.RollUp(t.Context(), "", true); err != nil {
		t.Fatal(err)
	}
	wantAudit("the roll-up is forgotten")
	if steps, cutoff := rollUp(t, s, number(2999)); steps != 1 || cutoff != number(2999) {
		t.Errorf("rolled up again in %d steps to %s", steps, cutoff)
	}
	wantAudit("rolled up again")
	for i := 2000; i < 2997; i++ {
		delete(held, number(i))
	}
	if diff := cmp.Diff(held, pages(t, s)); diff != "" {
		t.Errorf("reservations (-want +got):\n%s", diff)
	}
	for query, want := range map[string]int64{
		"SELECT COUNT(*) FROM reservations": 2, "SELECT COUNT(*) FROM reservation_lines": 0, "SELECT COUNT(*) FROM reserve_answers": 1,
		"SELECT COUNT(*) FROM reservation_archive": 2006,
	} {
		if n := count(t, db, query); n != want {
			t.Errorf("%s: %d, want %d", query, n, want)
		}
	}
}

// TestStore_Archive_stops: a reservation that has not ended stops the cut-off, and young numbers are refused.
func TestStore_Archive_stops(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	mustStock(t, s, 100)
	insertReservations(t, db, stock.Confirmed, 0, 3)
	insertReservations(t, db, stock.Reserved, 3, 1)
	insertReservations(t, db, stock.Confirmed, 4, 3)
	step, err := s.Archive(t.Context(), number(6), keep)
	if diff := cmp.Diff(store.ArchiveStep{ArchivedTo: number(2), Archived: 3, Done: true, Blocked: true}, step); err != nil || diff != "" {
		t.Errorf("error %v, step (-want +got):\n%s", err, diff)
	}
	mustExec(t, db, "UPDATE reservations SET status = 'released' WHERE order_no = ?", number(3))
	step, err = s.Archive(t.Context(), number(6), keep)
	if diff := cmp.Diff(store.ArchiveStep{ArchivedTo: number(6), Archived: 3, Deleted: 1, Done: true}, step); err != nil || diff != "" {
		t.Errorf("error %v, step (-want +got):\n%s", err, diff)
	}
	for age, want := range map[time.Duration]error{keep - time.Minute: stock.ErrTooYoung, keep + time.Minute: nil} {
		to := ulid.MustNew(ulid.Timestamp(time.Now().Add(-age)), ulid.DefaultEntropy()).String()
		if _, err := s.Archive(t.Context(), to, keep); !errors.Is(err, want) {
			t.Errorf("%v old: %v, want %v", age, err, want)
		}
	}
	if _, err := s.Archive(t.Context(), "ORDER-1", keep); !errors.Is(err, stock.ErrInvalidOrderNo) {
		t.Errorf("no ULID: %v", err)
	}
}

// TestStore_Archive_units: rows of sold units leave, and their units are counted on the stock row.
func TestStore_Archive_units(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	mustStock(t, s, 100)
	if _, err := s.SetLayout(t.Context(), "MUG", layout.Shape{Layout: stock.LayoutUnits}); err != nil {
		t.Fatal(err)
	}
	for i := range 4 { // the last one is reserved
		err := db.Transaction(func(tx *gorm.DB) error { return layout.MakeUnits(tx, "MUG", number(i), 2, 1) })
		if err != nil {
			t.Fatal(err)
		}
		status := "confirmed"
		if i == 3 {
			status = "reserved"
		}
		mustExec(t, db, "INSERT INTO reservations (order_no, status, strategy, sku, quantity, unit_price_cents) VALUES (?, ?, 'skip-locked', 'MUG', 2, 100)", number(i), status)
		mustExec(t, db, "UPDATE stock_units SET sold = ? WHERE order_no = ?", i < 3, number(i))
	}
	entry := func() store.Entry {
		t.Helper()
		found, err := s.Audit(t.Context())
		if err != nil || len(found.Entries) != 1 {
			t.Fatalf("%v, error %v", found, err)
		}
		return found.Entries[0]
	}
	before := entry()
	if archived := archive(t, s, number(1)); archived != 2 {
		t.Errorf("archived %d, want 2", archived)
	}
	if diff := cmp.Diff(before, entry()); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	if n := count(t, db, "SELECT COUNT(*) FROM stock_units"); n != 8 {
		t.Errorf("%d unit rows, want 8: four free ones, two sold and two reserved", n)
	}
	if n := count(t, db, "SELECT sold FROM stock"); n != 4 {
		t.Errorf("%d units are sold on the stock row, want 4", n)
	}
}

// TestStore_CountUnits: the catalogue shows the last count, and says how old it is. An order that makes rows does not
// make a product look sold out, and a count that began before it is not written.
func TestStore_CountUnits(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	mustStock(t, s, 1000)
	product := func() store.Product {
		t.Helper()
		p, err := s.Product(t.Context(), "MUG")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := product(); p.CountedAt != nil {
		t.Errorf("the layout row was counted at %v", p.CountedAt)
	}
	if _, err := s.SetLayout(t.Context(), "MUG", layout.Shape{Layout: stock.LayoutUnits}); err != nil {
		t.Fatal(err)
	}
	if err := db.Transaction(func(tx *gorm.DB) error { return layout.MakeUnits(tx, "MUG", number(1), 2, 500) }); err != nil {
		t.Fatal(err)
	}
	if p := product(); p.Available != 998 || p.CountedAt == nil {
		t.Errorf("rows were made: %+v, want 998 available", p)
	}
	mustExec(t, db, "UPDATE stock_units SET order_no = ? WHERE sku = 'MUG' AND order_no IS NULL LIMIT 10", number(2))
	counted := product().CountedAt
	if p := product(); p.Available != 998 {
		t.Errorf("not counted yet: %+v", p)
	}
	if err := s.CountUnits(t.Context(), time.Hour); err != nil || !product().CountedAt.Equal(*counted) {
		t.Errorf("a young count was renewed, error %v", err)
	}
	if err := s.CountUnits(t.Context(), 0); err != nil || product().Available != 988 || !product().CountedAt.After(*counted) {
		t.Errorf("counted: %+v, error %v; want 988 available", product(), err)
	}
	// Rows are made while a count runs: the count waits for nothing, and is not written.
	tx := db.Begin()
	defer tx.Rollback()
	if err := layout.MakeUnits(tx, "MUG", number(3), 8, 100); err != nil {
		t.Fatal(err)
	}
	counting := make(chan error, 1)
	go func() { counting <- s.CountUnits(t.Context(), 0) }()
	if err := tx.Commit().Error; err != nil {
		t.Fatal(err)
	}
	if err := <-counting; err != nil || product().Available != 980 {
		t.Errorf("%+v, error %v; want 980 available", product(), err)
	}
	if _, err := s.SetLayout(t.Context(), "MUG", layout.Shape{Layout: stock.LayoutRow}); err != nil {
		t.Fatal(err)
	}
	if p := product(); p.Available != 980 || p.CountedAt != nil {
		t.Errorf("in the layout row again: %+v, want 980 available", p)
	}
}

// TestStore_KeepCounts: SKUs without a count get one, and counts are renewed in the background.
func TestStore_KeepCounts(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	mustStock(t, s, 1)
	mustExec(t, db, "UPDATE stock SET layout = 'units'")
	mustExec(t, db, "INSERT INTO stock_units (sku, unit) VALUES ('MUG', 1), ('MUG', 2), ('MUG', 3)")
	stop := goKeepCounts(t, s)
	defer stop()
	for _, want := range []int64{4, 3} {
		eventuallyAvailable(t, s, want)
		mustExec(t, db, fmt.Sprintf("UPDATE stock_units SET order_no = '%s' WHERE sku = 'MUG' AND unit = 1", number(1)))
	}
}

// goKeepCounts counts in the background until it is stopped.
func goKeepCounts(t *testing.T, s *store.Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.KeepCounts(ctx, slog.New(slog.DiscardHandler)) })
	return func() {
		cancel()
		running.Wait()
	}
}

func eventuallyAvailable(t *testing.T, s *store.Store, want int64) {
	t.Helper()
	testkit.Eventually(t, 30*time.Second, "the units are counted", func() error {
		p, err := s.Product(t.Context(), "MUG")
		if err == nil && p.Available != want {
			err = fmt.Errorf("%d available, want %d", p.Available, want)
		}
		return err
	})
}

func mustExec(t *testing.T, db *gorm.DB, query string, args ...any) {
	t.Helper()
	if err := db.Exec(query, args...).Error; err != nil {
		t.Fatal(err)
	}
}
