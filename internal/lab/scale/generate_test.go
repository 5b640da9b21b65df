package scale_test

import (
	"context"
	stdsql "database/sql"
	"errors"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/lab/scale"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/order-srv/check"
	"holdfast/sql"
)

// history is the databases of a shop that is to get a history.
type history struct {
	scale.History
	lab *inventorylab.Lab
}

func newHistory(t *testing.T, count int) history {
	t.Helper()
	orders, inventory := dbtest.NewDSN(t, sql.Orders()), dbtest.NewDSN(t, sql.Inventory())
	pool, err := dbtest.Open(t, orders, scale.PoolOptions()).DB()
	if err != nil {
		t.Fatal(err)
	}
	lab, err := inventorylab.Open(t.Context(), inventorylab.Config{DSN: inventory, Strategy: "conditional", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	name := func(dsn string) string {
		name, _, _ := strings.Cut(dsn[strings.LastIndex(dsn, "/")+1:], "?")
		return name
	}
	return history{scale.History{DB: pool, Orders: name(orders), Inventory: name(inventory), Count: count}, lab}
}

// TestGenerate: the generated shop is clean and at rest, and has what was asked for.
func TestGenerate(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 4500)
	for range 2 { // the second history comes before the first
		if loaded, err := h.Generate(t.Context()); err != nil || loaded != 4500 {
			t.Fatalf("loaded %d, error %v", loaded, err)
		}
	}
	r := h.check(t)
	if found := append(r.Violations, r.Unsettled...); len(found) != 0 {
		t.Errorf("%d findings, the first: %v", len(found), found[0])
	}
	total := 0
	for status, least := range map[string]int{"PAID": 6000, "EXPIRED": 1200, "CANCELLED": 350, "REJECTED": 600, "ABANDONED": 120} {
		if r.Orders[status] < least {
			t.Errorf("%d orders are %s, want at least %d", r.Orders[status], status, least)
		}
		total += r.Orders[status]
	}
	if total != 9000 {
		t.Errorf("%d orders: %v", total, r.Orders)
	}
	var unsent int
	if err := h.DB.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL").Scan(&unsent); err != nil || unsent != 0 {
		t.Errorf("%d messages are not sent, error %v", unsent, err)
	}
	h.replays(t)
}

// replays has inventory reserve generated orders once more: it knows them.
func (h history) replays(t *testing.T) {
	t.Helper()
	for lines, query := range map[int]string{
		1: "SELECT order_no FROM " + h.Inventory + ".reservations WHERE status = 'confirmed' AND sku IS NOT NULL LIMIT 1",
		2: "SELECT l.order_no FROM " + h.Inventory + ".reservation_lines l JOIN " + h.Inventory + `.reservations r ON r.order_no = l.order_no
			WHERE r.status = 'confirmed' GROUP BY l.order_no HAVING COUNT(*) = 2 LIMIT 1`,
	} {
		var orderNo string
		if err := h.DB.QueryRowContext(t.Context(), query).Scan(&orderNo); err != nil {
			t.Fatal(err)
		}
		items := h.lines(t, "order_items", orderNo)
		if len(items) != lines {
			t.Fatalf("%s has %d lines, want %d", orderNo, len(items), lines)
		}
		var request []inventoryapi.Line
		for sku, n := range items {
			request = append(request, inventoryapi.Line{SKU: sku, Quantity: n})
		}
		if _, err := h.lab.Reserve(t.Context(), orderNo, request); err != nil {
			t.Errorf("reserve %s with its %d lines: %v", orderNo, lines, err)
		}
		request[0].Quantity++
		if _, err := h.lab.Reserve(t.Context(), orderNo, request); !errors.Is(err, inventoryapi.ErrMismatch) {
			t.Errorf("reserve %s with other lines: %v", orderNo, err)
		}
	}
}

// TestGenerate_interrupted: the shop is consistent after an interruption, and the rest can be generated.
func TestGenerate_interrupted(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 20_000)
	ctx, interrupt := context.WithCancel(t.Context())
	h.Progress = func(int) { interrupt() }
	loaded, err := h.Generate(ctx)
	if !errors.Is(err, context.Canceled) || loaded == 0 || loaded == h.Count {
		t.Fatalf("loaded %d of %d, error %v", loaded, h.Count, err)
	}
	h.Count, h.Progress = 2000, nil
	if n, err := h.Generate(t.Context()); err != nil || n != 2000 {
		t.Fatalf("loaded %d, error %v", n, err)
	}
	r := h.check(t)
	total := 0
	for _, n := range r.Orders {
		total += n
	}
	if found := append(r.Violations, r.Unsettled...); len(found) != 0 || total < loaded+2000 {
		t.Errorf("%d orders after %d and 2000; findings: %v", total, loaded, found)
	}
}

// TestGenerate_beginIsMissing: the loaders were interrupted before the oldest orders were there. The next range begins
// where the interrupted one began.
func TestGenerate_beginIsMissing(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 4000)
	if _, err := h.Generate(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.Count = 2000
	var middle string
	if err := h.DB.QueryRowContext(t.Context(), "SELECT order_no FROM orders ORDER BY order_no LIMIT 1 OFFSET 2000").Scan(&middle); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{h.Orders + ".order_items", h.Orders + ".orders", h.Inventory + ".reservation_lines", h.Inventory + ".reservations"} {
		if _, err := h.DB.ExecContext(t.Context(), "DELETE FROM "+table+" WHERE order_no < ?", middle); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.DB.ExecContext(t.Context(), "DELETE FROM "+h.Orders+".outbox"); err != nil {
		t.Fatal(err)
	}
	if n, err := h.Generate(t.Context()); err != nil || n != 2000 {
		t.Fatalf("loaded %d, error %v", n, err)
	}
}

// TestGenerate_isOlder: generated orders are older than an order that exists.
func TestGenerate_isOlder(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 10)
	oldest := ulid.MustNew(ulid.Timestamp(time.Now().Add(-30*24*time.Hour)), ulid.DefaultEntropy()).String()
	if err := h.lab.Release(t.Context(), oldest); err != nil { // writes a tombstone
		t.Fatal(err)
	}
	rolledUp := "SELECT CONCAT(o.cutoff, o.totals, i.order_no) FROM audit_rollup o JOIN " + h.Inventory + ".ledger_cutoff i"
	for _, statement := range []string{"UPDATE audit_rollup SET cutoff = 'X', totals = 'Y'", "UPDATE " + h.Inventory + ".ledger_cutoff SET order_no = 'Z'"} {
		if _, err := h.DB.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Generate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left string
	if err := h.DB.QueryRowContext(t.Context(), rolledUp).Scan(&left); err != nil || left != "{}" {
		t.Errorf("the roll-ups are %q, error %v", left, err)
	}
	var newest string
	if err := h.DB.QueryRowContext(t.Context(), "SELECT MAX(order_no) FROM orders").Scan(&newest); err != nil || newest >= oldest {
		t.Errorf("the newest generated order is %s, and %s was there; error %v", newest, oldest, err)
	}
}

// check has the checker judge all rows of both databases.
func (h history) check(t *testing.T) check.Report {
	t.Helper()
	ledger, err := h.lab.Ledger(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var skus []check.SKU
	for _, e := range ledger.SKUs {
		skus = append(skus, check.SKU{
			SKU: e.SKU, Inbound: e.Inbound, Available: e.Available, Reserved: e.Reserved, Sold: e.Sold,
			LinesReserved: e.LinesReserved, LinesConfirmed: e.LinesConfirmed,
		})
	}
	r, err := check.Run(check.Input{
		Started: ledger.TakenAt,
		Orders: rows(t, h.DB, `SELECT order_no, user_id, COALESCE(idempotency_key, freed_key, ''), status, settled_at IS NOT NULL FROM orders ORDER BY order_no`,
			func(r *stdsql.Rows, o *check.Order) error {
				return r.Scan(&o.OrderNo, &o.User, &o.Key, &o.Status, &o.Settled)
			},
			func(o *check.Order) { o.Lines = h.lines(t, "order_items", o.OrderNo) }),
		Reservations: rows(t, h.DB, "SELECT order_no, status, created_at FROM "+h.Inventory+".reservations ORDER BY order_no",
			func(r *stdsql.Rows, v *check.Reservation) error { return r.Scan(&v.OrderNo, &v.Status, &v.CreatedAt) },
			func(v *check.Reservation) { v.Lines = h.lines(t, h.Inventory+".all_reservation_lines", v.OrderNo) }),
		Ledger: func() (check.Ledger, error) { return check.Ledger{SKUs: skus}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// rows yields the rows of a query.
func rows[T any](t *testing.T, db *stdsql.DB, query string, scan func(*stdsql.Rows, *T) error, fill func(*T)) iter.Seq2[T, error] {
	t.Helper()
	found, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	var all []T
	for found.Next() {
		var v T
		if err := scan(found, &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return func(yield func(T, error) bool) {
		for _, v := range all {
			fill(&v)
			if !yield(v, nil) {
				return
			}
		}
	}
}

func (h history) lines(t *testing.T, table, orderNo string) map[string]int64 {
	t.Helper()
	found, err := h.DB.QueryContext(t.Context(), "SELECT sku, quantity FROM "+table+" WHERE order_no = ?", orderNo)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	lines := map[string]int64{}
	for found.Next() {
		var sku string
		var n int64
		if err := found.Scan(&sku, &n); err != nil {
			t.Fatal(err)
		}
		lines[sku] = n
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}
