package store_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/database"
	"holdfast/sql"
)

// manyReservations is how many confirmed reservations, archived ones, answers, sent messages and units each a long
// history has.
const manyReservations = 300_000

// newLongHistory returns a store with a long history, whose first half is archived. Its pool has one connection, whose
// counters reads reads.
func newLongHistory(t *testing.T) (*store.Store, *gorm.DB) {
	t.Helper()
	db := dbtest.Open(t, dbtest.NewDSN(t, sql.Inventory()), database.Options{MaxOpen: 1, IOTimeout: 2 * time.Minute})
	mustExec(t, db, "CREATE TABLE numbers (n INT NOT NULL PRIMARY KEY)")
	mustExec(t, db, "INSERT INTO numbers VALUES (0)")
	for rows := 1; rows < 2*manyReservations; rows *= 2 {
		mustExec(t, db, "INSERT INTO numbers SELECT n + ? FROM numbers WHERE n + ? < ?", rows, rows, 2*manyReservations)
	}
	for _, query := range []string{
		`INSERT INTO reservation_archive (order_no, sku, quantity, unit_price_cents, strategy, created_at, confirmed_at)
			SELECT CONCAT('01', LPAD(n, 24, '0')), 'MUG', 1, 100, 'test', '2026-01-01', '2026-01-01' FROM numbers WHERE n < ?`,
		`INSERT INTO reservations (order_no, status, request_hash, strategy, sku, quantity, unit_price_cents)
			SELECT CONCAT('01', LPAD(n, 24, '0')), 'confirmed', '', 'test', 'MUG', 1, 100 FROM numbers WHERE n >= ?`,
		`INSERT INTO reserve_answers (order_no, delivery, refused, answered_at)
			SELECT CONCAT('01', LPAD(n, 24, '0')), '', 0, '2026-01-01' FROM numbers WHERE n >= ?`,
		`INSERT INTO outbox (event_id, topic, shard, shard_key, payload, created_at, sent_at)
			SELECT CONCAT(n, ':x'), 'test', n MOD 16, n, '{}', '2026-01-01', IF(n MOD 10 = 0, NULL, '2026-01-01') FROM numbers WHERE n < ?`,
		"INSERT INTO stock_units (sku, unit, order_no, sold) SELECT 'LAMP', n, IF(n MOD 2, CONCAT('01', LPAD(n, 24, '0')), NULL), n MOD 2 FROM numbers WHERE n < ?",
	} {
		mustExec(t, db, query, manyReservations)
	}
	mustExec(t, db, "UPDATE retention SET archived_to = ?", number(manyReservations-1))
	mustExec(t, db, "INSERT INTO products (sku, title, price_cents, created_at) VALUES ('LAMP', 'Lamp', 100, UTC_TIMESTAMP(6))")
	mustExec(t, db, "INSERT INTO stock (sku, layout, updated_at) VALUES ('LAMP', 'units', UTC_TIMESTAMP(6))")
	mustExec(t, db, "INSERT INTO unit_counts (sku, free, counted_at) VALUES ('LAMP', ?, UTC_TIMESTAMP(6))", manyReservations/2)
	mustExec(t, db, "ANALYZE TABLE reservations, reservation_archive, reserve_answers, outbox, stock_units")
	return store.New(db, strategy.Layouts()), db
}

// reads returns how many rows and index entries the server reads for fn.
func reads(t *testing.T, db *gorm.DB, fn func(ctx context.Context) error) int {
	t.Helper()
	count := func() (sum int) {
		rows, err := db.Raw("SHOW SESSION STATUS LIKE 'Handler_read%'").Rows()
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var name, value string
			if err := rows.Scan(&name, &value); err != nil {
				t.Fatal(err)
			}
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return sum
	}
	idle := count()
	idle = count() - idle // what counting itself reads
	before := count()
	if err := fn(t.Context()); err != nil {
		t.Fatal(err)
	}
	return count() - before - idle
}

// TestStore_reads: with a long history each query reads about what it returns or deletes.
func TestStore_reads(t *testing.T) {
	t.Parallel()
	s, db := newLongHistory(t)
	page := func(after int) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			found, err := s.Reservations(ctx, number(after), "", 1000)
			if err == nil && len(found) != 1000 {
				err = fmt.Errorf("%d reservations", len(found))
			}
			return err
		}
	}
	for _, tt := range []struct {
		name string
		most int
		call func(ctx context.Context) error
	}{
		// A page, its lines, and twice the union: it is written, sorted and read.
		{"a page of reservations", 6*1000 + 50, page(manyReservations + 1000)},
		{"a page of archived ones", 8*1000 + 50, page(1000)},
		{"a page at the cut-off", 8*1000 + 50, page(manyReservations - 500)},
		{"an archived reservation", 10, func(ctx context.Context) error {
			found, err := s.InArchive(ctx, number(manyReservations/2))
			if err == nil && !found {
				err = fmt.Errorf("not found")
			}
			return err
		}},
		// Locked, copied, and deleted from three tables; then the answers.
		{"a step of the archiving", 8*500 + 100, func(ctx context.Context) error {
			step, err := s.Archive(ctx, number(2*manyReservations-1), keep)
			if err == nil && (step.Archived != 500 || step.Done) {
				err = fmt.Errorf("%+v", step)
			}
			return err
		}},
		{"old messages", 2*500 + 20, func(ctx context.Context) error {
			n, err := s.Outbox().DeleteSent(ctx, time.Now(), 500)
			if err == nil && n != 500 {
				err = fmt.Errorf("deleted %d", n)
			}
			return err
		}},
		{"no old messages", 20, func(ctx context.Context) error {
			_, err := s.Outbox().DeleteSent(ctx, ulid.Time(0), 500)
			return err
		}},
		// MySQL also reads its dictionary, some 80 rows, as the first query of these tables.
		{"a product of many units", 200, func(ctx context.Context) error {
			p, err := s.Product(ctx, "LAMP")
			if err == nil && p.Available != manyReservations/2 {
				err = fmt.Errorf("%d available", p.Available)
			}
			return err
		}},
		{"a page of products", 40, func(ctx context.Context) error {
			_, err := s.Products(ctx, "", 100)
			return err
		}},
		{"counting the free units", manyReservations/2 + 50, func(ctx context.Context) error { return s.CountUnits(ctx, 0) }},
	} {
		n := reads(t, db, tt.call)
		t.Logf("%s: %d", tt.name, n)
		if n > tt.most {
			t.Errorf("%s: the server reads %d rows, want at most %d", tt.name, n, tt.most)
		}
	}
}
