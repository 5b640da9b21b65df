package store_test

import (
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/database"
	"holdfast/sql"
)

// schemaBefore is the schema without the migrations from that one on.
func schemaBefore(t *testing.T, first string) fs.FS {
	t.Helper()
	files, err := fs.Glob(sql.Orders(), "*.sql")
	must(t, err)
	old := fstest.MapFS{}
	for _, name := range files {
		if name < first {
			b, err := fs.ReadFile(sql.Orders(), name)
			must(t, err)
			old[name] = &fstest.MapFile{Data: b}
		}
	}
	return old
}

// oldReplica has the statements of the version before.
type oldReplica struct {
	t  *testing.T
	db *gorm.DB
}

func (r oldReplica) exec(want int64, query string, args ...any) {
	r.t.Helper()
	if res := r.db.Exec(query, args...); res.Error != nil || res.RowsAffected != want {
		r.t.Fatalf("%s: %d rows, error %v; want %d", query, res.RowsAffected, res.Error, want)
	}
}

func (r oldReplica) insert() string {
	r.t.Helper()
	no := ulid.Make().String()
	r.exec(1, `INSERT INTO orders (order_no, group_id, user_id, idempotency_key, request_hash, status, flow, strategy, created_at, updated_at)
		VALUES (?, ?, 'ann', ?, ?, 'PENDING', 'test', '', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))`, no, no, "key-"+no, ordertest.RequestHash)
	r.exec(1, "INSERT INTO order_items (order_no, sku, quantity) VALUES (?, 'A', 1)", no)
	return no
}

func (r oldReplica) place(no string) string {
	r.t.Helper()
	r.exec(1, `UPDATE orders SET status = 'PLACED', updated_at = UTC_TIMESTAMP(6), amount_cents = 100, expires_at = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR,
		response_status = 201, response_body = '"the answer of then"' WHERE order_no = ? AND status = 'PENDING'`, no)
	return no
}

func (r oldReplica) cancel(no string) string {
	r.t.Helper()
	r.exec(1, "UPDATE orders SET status = 'CANCELLED', updated_at = UTC_TIMESTAMP(6) WHERE order_no = ? AND status = 'PLACED'", no)
	return no
}

func (r oldReplica) settle(no string) string {
	r.t.Helper()
	r.exec(1, "UPDATE orders SET settled_at = UTC_TIMESTAMP(6) WHERE order_no = ? AND settled_at IS NULL", no)
	return no
}

// newOldStore returns a database that the version before has written and this one has migrated, with an order of that
// version.
func newOldStore(t *testing.T) (s *store.Store, old oldReplica, first string) {
	t.Helper()
	dsn := dbtest.NewDSN(t, schemaBefore(t, "0005"))
	db := dbtest.Open(t, dsn, database.Options{})
	old = oldReplica{t, db}
	first = old.cancel(old.place(old.insert()))
	must(t, database.Migrate(t.Context(), db, sql.Orders(), slog.New(slog.DiscardHandler)))
	return store.New(db, nil), old, first
}

// found is what the healers find of the orders that are a minute old.
func found(t *testing.T, s *store.Store) (stale, overdue, unsettled []string) {
	t.Helper()
	overdue = pages(t, func(after store.Place) (store.Page, error) { return s.Overdue(t.Context(), 30*time.Second, after, 3) })
	unsettled = pages(t, func(after store.Place) (store.Page, error) {
		return s.Unsettled(t.Context(), 30*time.Second, after, 3)
	})
	stale = sweepAll(t, s, 30*time.Second)
	for _, numbers := range [][]string{stale, overdue, unsettled} {
		slices.Sort(numbers)
	}
	return stale, overdue, unsettled
}

// TestStore_besideOlder has replicas of this version and of the one before work on each other's orders. Both find all
// of them. Afterwards the orders are converted, and the healers find the same.
func TestStore_besideOlder(t *testing.T) {
	t.Parallel()
	s, old, first := newOldStore(t)
	db := old.db
	ours := func() string { return insert(t, s, newOrder()).OrderNo }
	place := func(no string) string {
		if _, err := ordertest.Place(t.Context(), s, no, placement()); err != nil {
			t.Fatal(err)
		}
		return no
	}
	cancel := func(no string) string {
		if _, err := s.Cancel(t.Context(), "ann", no); err != nil {
			t.Fatal(err)
		}
		return no
	}
	stale := []string{old.insert(), ours()}
	overdue := []string{old.place(old.insert()), place(ours())}
	unsettled := []string{first, old.cancel(place(ours())), cancel(old.place(old.insert())), cancel(place(ours())), old.cancel(old.place(old.insert()))}
	settled := old.settle(old.cancel(place(ours())))
	settle(t, s, order.Cancelled, 1, cancel(old.place(old.insert())))
	young := []string{place(ours()), old.place(old.insert())}

	body := ""
	must(t, db.Raw("SELECT response_body FROM orders WHERE order_no = ? AND request_hash = ?", overdue[1], ordertest.RequestHash).Row().Scan(&body))
	if body == "" {
		t.Error("the older replica would have no answer for a repeat of an order of this version")
	}
	// What is a minute old. The orders' numbers are, too: the sweeper goes by them at last.
	for _, list := range [][]string{overdue, stale, unsettled} {
		for i, no := range list {
			age(t, db, no, time.Minute)
			list[i] = rename(t, db, no, ordertest.OldNumber(2*time.Hour))
		}
		slices.Sort(list)
	}
	must(t, db.Exec("UPDATE orders SET expires_at = expires_at - INTERVAL 1 HOUR, due_at = due_at - INTERVAL 1 HOUR WHERE order_no IN ?", overdue).Error)

	want := [][]string{stale, overdue, unsettled}
	check := func(when string) {
		t.Helper()
		a, b, c := found(t, s)
		if diff := cmp.Diff(want, [][]string{a, b, c}); diff != "" {
			t.Errorf("%s, the healers found stale, overdue, unsettled (-want +got):\n%s", when, diff)
		}
	}
	check("beside an older replica")
	if n := count(t, db, "SELECT COUNT(*) FROM orders WHERE request_digest IS NOT NULL"); n != 0 {
		t.Errorf("%d orders are lean beside an older replica", n)
	}
	must(t, s.WriteLean(t.Context()))
	check("before the conversion")
	if m := mark(t, db); m != "" {
		t.Errorf("the mark has moved to %s, and older replicas insert orders without looking at it", m)
	}
	convert(t, s)
	check("after the conversion")
	if got := dueOf(t, db, settled); got != "never" {
		t.Errorf("an order that the older replica has settled is due %s", got)
	}
	for _, no := range young {
		if got := dueOf(t, db, no); got != "expires" {
			t.Errorf("an order that can be paid is due %s", got)
		}
	}
	if o := get(t, s, overdue[0]); string(o.ResponseBody) != "the answer of then" || !newOrder().Repeats(o) {
		t.Errorf("an order of the older version: answer %q, hash %s", o.ResponseBody, o.RequestHash)
	}
}

// rename gives an order another number.
func rename(t *testing.T, db *gorm.DB, from, to string) string {
	t.Helper()
	for _, table := range []string{"orders", "order_items"} {
		must(t, db.Exec("UPDATE "+table+" SET order_no = ? WHERE order_no = ?", to, from).Error)
	}
	return to
}

// convert converts all orders and drops the old keys.
func convert(t *testing.T, s *store.Store) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Convert(t.Context(), slog.New(slog.NewTextHandler(t.Output(), nil)))
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the conversion does not end")
	}
}

// TestStore_Backfill fills in due_at in bounded steps, of which two replicas do a part each, while orders are placed
// and end. A third replica continues.
func TestStore_Backfill(t *testing.T) {
	t.Parallel()
	s, old, _ := newOldStore(t)
	db := old.db
	const orders = 1700
	for range orders / 100 {
		insertStale(t, db, 100)
	}
	for i, status := range []string{"PLACED", "PAID", "CANCELLED", "REJECTED"} {
		must(t, db.Exec("UPDATE orders SET status = ?, expires_at = created_at WHERE status = 'PENDING' ORDER BY order_no LIMIT ?", status, orders/5+i).Error)
	}
	must(t, db.Exec("UPDATE orders SET settled_at = updated_at WHERE status = 'PAID'").Error)
	must(t, s.WriteLean(t.Context()))
	dated := func() int { return count(t, db, "SELECT COUNT(*) FROM orders WHERE due_at IS NOT NULL") }
	must(t, s.Backfill(t.Context()))
	if n := dated(); n == 0 || n > 500 {
		t.Errorf("the first step changed %d orders, want some and at most 500", n)
	}
	var selling, filling sync.WaitGroup
	stop := make(chan struct{})
	selling.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			o := place(t, s, time.Hour)
			if _, err := s.Cancel(t.Context(), "ann", o.OrderNo); err != nil {
				t.Error(err)
			}
		}
	})
	for range 2 {
		filling.Go(func() {
			if err := s.Backfill(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	filling.Wait()
	third := store.New(db, nil)
	for count(t, db, "SELECT stage FROM order_form") != 2 {
		must(t, third.Backfill(t.Context()))
	}
	testkit.Eventually(t, 30*time.Second, "the old keys are dropped", func() error { return third.DropOldKeys(t.Context()) })
	close(stop)
	selling.Wait()
	wrong := count(t, db, `SELECT COUNT(*) FROM orders WHERE NOT (due_at <=> CASE WHEN settled_at IS NOT NULL THEN NULL WHEN status = 'PENDING'
		THEN COALESCE(expires_at, created_at) WHEN status = 'PLACED' THEN expires_at ELSE updated_at END)`)
	if wrong != 0 {
		t.Errorf("due_at of %d orders is wrong", wrong)
	}
	if keys := count(t, db, `SELECT COUNT(*) FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'orders'
		AND index_name IN ('orders_sweep', 'orders_expiry', 'orders_unsettled')`); keys != 0 {
		t.Errorf("%d columns of the old keys are left", keys)
	}
}

// TestStore_DropOldKeys_longTransaction: the keys wait for a transaction that uses the table, and orders do not wait
// for the keys.
func TestStore_DropOldKeys_longTransaction(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	o := insert(t, s, newOrder())
	tx := db.Begin()
	defer tx.Rollback()
	must(t, tx.Exec("SELECT status FROM orders WHERE order_no = ?", o.OrderNo).Error)
	begun := time.Now()
	if err := s.DropOldKeys(t.Context()); err == nil || time.Since(begun) > 10*time.Second {
		t.Errorf("beside a long transaction: error %v after %v", err, time.Since(begun))
	}
	must(t, tx.Rollback().Error)
	must(t, s.DropOldKeys(t.Context()))
	insert(t, s, newOrder())
}
