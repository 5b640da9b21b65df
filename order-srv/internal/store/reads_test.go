package store_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/database"
	"holdfast/sql"
)

const (
	manyOrders = 300_000
	manyUnsent = 30_000
	perUser    = 1000
)

// newLongHistory returns a store with manyOrders settled orders and as many messages that were sent, and manyUnsent
// messages that were not. Its pool has one connection, whose counters reads reads.
func newLongHistory(t *testing.T) (*store.Store, *gorm.DB) {
	t.Helper()
	db := dbtest.Open(t, dbtest.NewDSN(t, sql.Orders()), database.Options{MaxOpen: 1, IOTimeout: 2 * time.Minute})
	exec := func(query string, args ...any) {
		t.Helper()
		if err := db.Exec(query, args...).Error; err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE numbers (n INT NOT NULL PRIMARY KEY)")
	exec("INSERT INTO numbers VALUES (0)")
	for rows := 1; rows < manyOrders; rows *= 2 {
		exec("INSERT INTO numbers SELECT n + ? FROM numbers WHERE n + ? < ?", rows, rows, manyOrders)
	}
	exec(`INSERT INTO orders (order_no, group_id, user_id, idempotency_key, request_hash, status, flow, created_at, updated_at, settled_at)
		SELECT CONCAT('01', LPAD(n, 24, '0')), 'g', CONCAT('user-', n DIV ?), n, '', 'PAID', 'test', '2026-01-01', '2026-01-01', '2026-01-01' FROM numbers`, perUser)
	exec("INSERT INTO order_items (order_no, sku, quantity) SELECT CONCAT('01', LPAD(n, 24, '0')), 'A', 1 FROM numbers")
	exec(`INSERT INTO outbox (event_id, topic, shard, shard_key, payload, created_at, sent_at)
		SELECT CONCAT(n, ':PAID'), 'test', n MOD 16, n, '{}', '2026-01-01', '2026-01-01' FROM numbers`)
	exec(`INSERT INTO outbox (event_id, topic, shard, shard_key, payload, created_at)
		SELECT CONCAT(n, ':late'), 'test', n MOD 16, n, '{}', '2026-01-01' FROM numbers WHERE n < ?`, manyUnsent)
	exec(`INSERT INTO healings (order_no, healer, deed, healed_at) SELECT CONCAT('01', LPAD(n, 24, '0')), 'sweeper', 'test', '2026-01-01' FROM numbers`)
	// As many archived orders come before them, and some of them are user-7's too.
	exec(`INSERT INTO orders_archive (order_no, group_id, user_id, status, flow, created_at, updated_at, settled_at)
		SELECT CONCAT('00', LPAD(n, 24, '0')), 'g', CONCAT('user-', n DIV ?), 'PAID', 'test', '2025-01-01', '2025-01-01', '2025-01-01' FROM numbers`, perUser)
	exec("INSERT INTO order_items_archive (order_no, sku, quantity) SELECT CONCAT('00', LPAD(n, 24, '0')), 'A', 1 FROM numbers")
	exec("UPDATE retention SET archived_to = '00ZZZZZZZZZZZZZZZZZZZZZZZZ'")
	exec("ANALYZE TABLE orders, order_items, outbox, healings, orders_archive, order_items_archive")
	return store.New(db, nil), db
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

// TestStore_reads: with a long history each query reads about what it returns.
func TestStore_reads(t *testing.T) {
	t.Parallel()
	s, db := newLongHistory(t)
	last := fmt.Sprintf("01%024d", manyOrders-1)
	for _, tt := range []struct {
		name string
		most int
		call func(ctx context.Context) error
	}{
		// Orders, their items, of which the archive might have some too, and the union of these: sorted and read.
		{"the newest orders of a user", 6*20 + 10, func(ctx context.Context) error {
			found, err := s.List(ctx, "user-7", "", 20)
			return want(err, 20, len(found))
		}},
		{"a later page of them", 6*20 + 10, func(ctx context.Context) error {
			found, err := s.List(ctx, "user-7", fmt.Sprintf("01%024d", 7*perUser+500), 20)
			return want(err, 20, len(found))
		}},
		{"a page of archived ones of them", 6*20 + 10, func(ctx context.Context) error {
			found, err := s.List(ctx, "user-7", fmt.Sprintf("01%024d", 7*perUser), 20)
			return want(err, 20, len(found))
		}},
		{"the page where the archive begins", 6*20 + 10, func(ctx context.Context) error {
			found, err := s.List(ctx, "user-7", fmt.Sprintf("01%024d", 7*perUser+10), 20)
			return want(err, 20, len(found))
		}},
		{"an archived order", 10, func(ctx context.Context) error {
			_, err := s.Get(ctx, "user-7", fmt.Sprintf("00%024d", 7*perUser))
			return err
		}},
		{"an order", 10, func(ctx context.Context) error {
			_, err := s.Get(ctx, "user-7", fmt.Sprintf("01%024d", 7*perUser))
			return err
		}},
		{"an order by its key", 10, func(ctx context.Context) error {
			_, err := s.ByKey(ctx, "user-7", strconv.Itoa(7*perUser))
			return err
		}},
		{"a page of an audit", 2*1000 + 10, func(ctx context.Context) error {
			found, _, err := s.AuditPage(ctx, fmt.Sprintf("01%024d", manyOrders/2), 1000)
			return want(err, 1000, len(found))
		}},
		// The page and its lines, and the union of both tables: written, sorted and read.
		{"a page of an audit in the archive", 7*1000 + 10, func(ctx context.Context) error {
			found, _, err := s.AuditPage(ctx, fmt.Sprintf("00%024d", manyOrders/2), 1000)
			return want(err, 1000, len(found))
		}},
		{"the end of an audit", 10, func(ctx context.Context) error {
			found, _, err := s.AuditPage(ctx, last, 1000)
			return want(err, 0, len(found))
		}},
		{"the owners of reservations", 500 + 10, func(ctx context.Context) error {
			numbers := make([]string, 500)
			for i := range numbers {
				numbers[i] = fmt.Sprintf("01%024d", i*600)
			}
			found, err := s.Owners(ctx, numbers)
			return want(err, 500, len(found))
		}},
		{"the owners of reservations, half of them archived", 2*500 + 10, func(ctx context.Context) error {
			numbers := make([]string, 500)
			for i := range numbers {
				numbers[i] = fmt.Sprintf("%02d%024d", i%2, i*600)
			}
			found, err := s.Owners(ctx, numbers)
			return want(err, 500, len(found))
		}},
		{"the state of the retention", 40, func(ctx context.Context) error {
			_, err := s.Retention(ctx, time.Hour)
			return err
		}},
		{"orders that are not proven", 1000 + 10, func(ctx context.Context) error {
			found, err := s.Unproven(ctx, "", last, 1000)
			if err == nil && !found {
				err = errors.New("none")
			}
			return err
		}},
		{"what is proven", 40, func(ctx context.Context) error {
			_, err := s.ProvenTo(ctx)
			return err
		}},
		// Locked, copied, and deleted, with their items.
		{"a step of the retention", 8*500 + 50, func(ctx context.Context) error {
			if err := db.Exec("UPDATE audit_rollup SET cutoff = ?", last).Error; err != nil {
				return err
			}
			if ok, err := s.ClaimHistory(ctx, "owner", time.Minute); err != nil || !ok {
				return fmt.Errorf("claimed %v: %w", ok, err)
			}
			step, err := s.Archive(ctx, "owner", last)
			return want(err, 500, step.Archived)
		}},
		{"old messages and healings", 4*500 + 20, func(ctx context.Context) error {
			n, _, err := s.DeleteOld(ctx, "01ZZZZZZZZZZZZZZZZZZZZZZZZ")
			return want(err, 1000, n)
		}},
		{"no old messages and healings", 20, func(ctx context.Context) error {
			n, _, err := s.DeleteOld(ctx, "01000000000000000000000000")
			return want(err, 0, n)
		}},
		{"a shard to relay", 100, func(ctx context.Context) error {
			_, ok, err := s.Outbox().Claim(ctx, "owner", time.Minute)
			if err == nil && !ok {
				return fmt.Errorf("no shard")
			}
			return err
		}},
		{"messages to relay", 2*100 + 20, func(ctx context.Context) error {
			found, err := s.Outbox().Unsent(ctx, 3, 100)
			return want(err, 100, len(found))
		}},
	} {
		n := reads(t, db, tt.call)
		t.Logf("%s: %d", tt.name, n)
		if n > tt.most {
			t.Errorf("%s: the server reads %d rows, want at most %d", tt.name, n, tt.most)
		}
	}
}

func want(err error, want, got int) error {
	if err == nil && got != want {
		return fmt.Errorf("got %d, want %d", got, want)
	}
	return err
}
