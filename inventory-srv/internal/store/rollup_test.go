package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// insertReservations inserts reservations of one unit of MUG, numbered from first, and moves the counters.
func insertReservations(t *testing.T, db *gorm.DB, status stock.Status, first, count int) {
	t.Helper()
	const rows = 5000
	for done := 0; done < count; done += rows {
		var values []string
		for i := range min(rows, count-done) {
			values = append(values, fmt.Sprintf("('%s','%s','','test','MUG',1,100)", number(first+done+i), status))
		}
		err := db.Exec("INSERT INTO reservations (order_no, status, request_hash, strategy, sku, quantity, unit_price_cents) VALUES " + strings.Join(values, ",")).Error
		if err != nil {
			t.Fatal(err)
		}
	}
	column := map[stock.Status]string{stock.Reserved: "reserved", stock.Confirmed: "sold"}[status]
	if column == "" {
		return
	}
	if err := db.Exec("UPDATE stock SET available = available - ?, "+column+" = "+column+" + ? WHERE sku = 'MUG'", count, count).Error; err != nil {
		t.Fatal(err)
	}
}

func number(n int) string { return fmt.Sprintf("01%024d", n) }

// rollUp rolls up in steps, and returns how many there were and where the cut-off is.
func rollUp(t *testing.T, s *store.Store, to string) (steps int, cutoff string) {
	t.Helper()
	for {
		cutoff, done, err := s.RollUp(t.Context(), to, false)
		if err != nil {
			t.Fatal(err)
		}
		if steps++; done {
			return steps, cutoff
		}
	}
}

// TestStore_RollUp: the audit's figures are the same with and without a roll-up, and what changes below the cut-off
// does not hide.
func TestStore_RollUp(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	mustStock(t, s, 100_000)
	insertReservations(t, db, stock.Confirmed, 0, 50_010)
	insertReservations(t, db, stock.Released, 50_010, 5)
	insertReservations(t, db, stock.Reserved, 50_015, 2)
	insertReservations(t, db, stock.Confirmed, 50_017, 3)
	want := []store.Entry{{
		SKU: "MUG", Layout: "row", Inbound: 100_000, Available: 49_985, Reserved: 2, Sold: 50_013, LinesReserved: 2, LinesConfirmed: 50_013,
	}}
	wantEntries := func(what, cutoff string) {
		t.Helper()
		found, err := s.Audit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, found.Entries); diff != "" || found.Cutoff != cutoff {
			t.Errorf("%s: cut-off %s, want %s; entries (-want +got):\n%s", what, found.Cutoff, cutoff, diff)
		}
	}
	wantEntries("before", "")
	if steps, cutoff := rollUp(t, s, number(50_014)); steps != 2 || cutoff != number(50_014) {
		t.Errorf("%d steps to %s, want 2 to %s", steps, cutoff, number(50_014))
	}
	wantEntries("rolled up", number(50_014))
	if steps, cutoff := rollUp(t, s, number(50_020)); steps != 1 || cutoff != number(50_014) {
		t.Errorf("%d steps over a reservation that has not ended, to %s", steps, cutoff)
	}
	wantEntries("stopped", number(50_014))
	if err := db.Exec("UPDATE reservations SET status = 'released' WHERE order_no = ?", number(7)).Error; err != nil {
		t.Fatal(err)
	}
	if err := db.Exec("UPDATE stock SET sold = sold - 1, available = available + 1").Error; err != nil {
		t.Fatal(err)
	}
	want[0].Available, want[0].Sold = 49_986, 50_012
	wantEntries("changed below the cut-off", number(50_014)) // the lines contradict the counter
	if cutoff, done, err := s.RollUp(t.Context(), "", true); err != nil || !done || cutoff != "" {
		t.Errorf("restarted: cut-off %q, done %v, error %v", cutoff, done, err)
	}
	want[0].LinesConfirmed = 50_012
	wantEntries("restarted", "")
}

// TestStore_Audit_ends: when the time for an audit ends, its statement ends on the server too, and the answer is not
// that there is contention.
func TestStore_Audit_ends(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	mustStock(t, s, 1)
	for _, statement := range []string{
		"RENAME TABLE stock_inbound TO slow", "CREATE VIEW stock_inbound AS SELECT sku, quantity + SLEEP(20) AS quantity FROM slow",
	} {
		if err := db.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.Audit(ctx); !errors.Is(err, stock.ErrAuditTimeout) {
		t.Errorf("got %v, want %v", err, stock.ErrAuditTimeout)
	}
	// A server notices after 5 s that the client of a SLEEP has gone.
	testkit.Eventually(t, 3*time.Second, "the audit's statement ends", func() error {
		var running int
		err := db.Raw("SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE '%FROM stock_inbound%' AND id <> CONNECTION_ID()").
			Row().Scan(&running)
		if err == nil && running > 0 {
			err = fmt.Errorf("%d statements", running)
		}
		return err
	})
}
