package store_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/database"
	"holdfast/sql"
)

// dueOf says what an order's due_at is.
func dueOf(t *testing.T, db *gorm.DB, orderNo string) (due string) {
	t.Helper()
	must(t, db.Raw(`SELECT CASE WHEN due_at IS NULL THEN 'never' WHEN due_at = expires_at THEN 'expires' WHEN due_at = updated_at THEN 'ended'
		ELSE 'otherwise' END FROM orders WHERE order_no = ?`, orderNo).Row().Scan(&due))
	return due
}

// TestStore_due_at takes orders along each path of the machine and looks at due_at after each step.
func TestStore_due_at(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	ctx := t.Context()
	placed := func() string { return place(t, s, time.Hour).OrderNo }
	pending := func() string { return insert(t, s, newOrder()).OrderNo }
	settle := func(no string) error { _, err := s.Settle(ctx, get(t, s, no).Status, []string{no}); return err }
	reject := func(giveBack bool) func(no string) error {
		return func(no string) error {
			_, err := ordertest.Reject(ctx, s, no, store.Rejection{Refusal: soldOut(), GiveBack: giveBack})
			return err
		}
	}
	for _, tt := range []struct {
		name  string
		begin func() string
		step  func(no string) error
		want  string
	}{
		{"inserted", pending, func(string) error { return nil }, "expires"},
		{"placed", placed, func(string) error { return nil }, "expires"},
		{"rejected, nothing taken", pending, reject(false), "never"},
		{"rejected, to be given back", pending, reject(true), "ended"},
		{"abandoned", pending, func(no string) error { _, err := s.Abandon(ctx, []string{no}, 0, true, store.Sweeper); return err }, "ended"},
		{"paid", placed, func(no string) error { _, err := s.Pay(ctx, "ann", no); return err }, "ended"},
		{"cancelled", placed, func(no string) error { _, err := s.Cancel(ctx, "ann", no); return err }, "ended"},
		{"expired", placed, func(no string) error {
			_, err := ordertest.Expire(ctx, s, no, -2*time.Hour, store.NoHealer)
			return err
		}, "ended"},
	} {
		no := tt.begin()
		must(t, tt.step(no))
		if got := dueOf(t, db, no); got != tt.want {
			t.Errorf("%s: due %s, want %s", tt.name, got, tt.want)
		}
		if tt.want != "ended" {
			continue
		}
		if get(t, s, no).Status == order.Paid {
			refunded := insert(t, s, newOrder()).OrderNo
			setStatus(t, db, refunded, order.Paid)
			_, err := s.RefundDue(ctx, refunded, "closed")
			must(t, err)
			if got := dueOf(t, db, refunded); got != "ended" {
				t.Errorf("refund due: due %s, want ended", got)
			}
		}
		must(t, settle(no))
		if got := dueOf(t, db, no); got != "never" {
			t.Errorf("%s and settled: due %s, want never", tt.name, got)
		}
	}
}

// pages reads all pages.
func pages(t *testing.T, read func(after store.Place) (store.Page, error)) []string {
	t.Helper()
	var found []string
	for after := (store.Place{}); ; {
		p, err := read(after)
		must(t, err)
		for _, o := range p.Orders {
			found = append(found, o.OrderNo)
		}
		if p.Last {
			return found
		}
		after = p.Next
	}
}

// TestStore_Overdue_pages: orders that are PLACED and orders that have ended are due at the same times, hundreds of a
// group at the same one. Each reader finds its own, once.
func TestStore_Overdue_pages(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	numbers := insertStale(t, db, 400)
	must(t, db.Exec("UPDATE orders SET status = 'PLACED', due_at = UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE").Error)
	var placed, ended []string
	for i, no := range numbers {
		if i%3 == 0 {
			ended = append(ended, no)
			continue
		}
		placed = append(placed, no)
	}
	must(t, db.Exec("UPDATE orders SET status = 'CANCELLED' WHERE order_no IN ?", ended).Error)
	must(t, db.Exec("UPDATE orders SET due_at = due_at - INTERVAL 1 SECOND WHERE order_no >= ?", numbers[200]).Error)
	insert(t, s, newOrder())
	fresh := place(t, s, time.Hour)
	for name, want := range map[string][]string{"overdue": placed, "unsettled": ended} {
		read := s.Overdue
		if name == "unsettled" {
			read = s.Unsettled
		}
		got := pages(t, func(after store.Place) (store.Page, error) { return read(t.Context(), 30*time.Second, after, 37) })
		want = slices.Clone(want)
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if slices.Contains(got, fresh.OrderNo) {
			t.Errorf("%s: has an order that can still be paid", name)
		}
	}
}

// explain returns the key that a statement uses and what the server says beside it.
func explain(t *testing.T, db *gorm.DB, query string, args ...any) (key, extra string) {
	t.Helper()
	var rows []struct{ Key, Extra string }
	_ = db.Exec("SET explain_format = TRADITIONAL").Error // MariaDB has no other format and not this variable
	must(t, db.Raw("EXPLAIN "+query, args...).Scan(&rows).Error)
	if len(rows) != 1 {
		t.Fatalf("%s: the plan has %d steps, want 1", query, len(rows))
	}
	return rows[0].Key, rows[0].Extra
}

// TestStore_healersRead: what the healers ask reads the rows that it returns, by the key that is meant for it, and not
// the shop's history.
func TestStore_healersRead(t *testing.T) {
	t.Parallel()
	dsn := dbtest.NewDSN(t, sql.Orders())
	db := dbtest.Open(t, dsn, database.Options{MaxOpen: 1})
	s := store.New(db, nil)
	const history, due = 3000, 50
	for range history / 500 {
		insertStale(t, db, 500)
	}
	must(t, db.Exec("UPDATE orders SET status = 'PAID', settled_at = UTC_TIMESTAMP(6), due_at = NULL").Error)
	numbers := insertStale(t, db, due)
	must(t, db.Exec("UPDATE orders SET status = 'PLACED', due_at = UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE WHERE order_no IN ?", numbers).Error)
	must(t, s.DropOldKeys(t.Context()))
	must(t, s.DropOldKeys(t.Context())) // by another replica, too

	for name, read := range map[string]func() (store.Page, error){
		"overdue":   func() (store.Page, error) { return s.Overdue(t.Context(), 0, store.Place{}, 500) },
		"unsettled": func() (store.Page, error) { return s.Unsettled(t.Context(), 0, store.Place{}, 500) },
	} {
		n := reads(t, db, func(context.Context) error {
			_, err := read()
			return err
		})
		if n > 2*due+10 {
			t.Errorf("%s: %d rows were read, %d are due", name, n, due)
		}
	}
	for query, args := range store.HealerQueries() {
		key, extra := explain(t, db, query, args...)
		want := "PRIMARY"
		if strings.Contains(query, "due_at") {
			want = "orders_due"
		}
		if key != want || strings.Contains(extra, "filesort") || strings.Contains(extra, "temporary") {
			t.Errorf("%s\nuses the key %q, %q; want %s", query, key, extra, want)
		}
	}
	sweepAll(t, s, 0)
	n := reads(t, db, func(context.Context) error {
		sweepAll(t, s, 0)
		return nil
	})
	if n > 20 {
		t.Errorf("a second pass of the sweeper read %d rows", n)
	}
}
