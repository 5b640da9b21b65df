package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/fault"
	"holdfast/sql"
)

func newStore(t *testing.T) (*store.Store, *gorm.DB) {
	t.Helper()
	db := dbtest.New(t, sql.Inventory())
	return store.New(db, strategy.Layouts()), db
}

func mug() store.Product {
	return store.Product{SKU: "MUG", Title: "Mug, gr\u00fcn", PriceCents: 1290, Layout: stock.LayoutRow}
}

func delivery(reference string, quantity int64) store.Inbound {
	return store.Inbound{SKU: "MUG", Quantity: quantity, Reference: reference, Reason: "test", Actor: "test"}
}

func mustStock(t *testing.T, s *store.Store, units int64) {
	t.Helper()
	if _, err := s.CreateProduct(t.Context(), mug()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Receive(t.Context(), delivery("first", units)); err != nil {
		t.Fatal(err)
	}
}

func TestStore_CreateProduct(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, err := s.CreateProduct(t.Context(), mug())
			if diff := cmp.Diff(mug(), got); err != nil || diff != "" {
				t.Errorf("error %v, product (-want +got):\n%s", err, diff)
			}
		})
	}
	wg.Wait()
	for _, other := range []store.Product{
		{SKU: "MUG", Title: "Other", PriceCents: 1290},
		{SKU: "MUG", Title: mug().Title, PriceCents: 1},
		{SKU: "MUG", Title: mug().Title, PriceCents: 1290, Lab: true}, // real stock never becomes the lab's
	} {
		if _, err := s.CreateProduct(t.Context(), other); !errors.Is(err, stock.ErrSKUExists) {
			t.Errorf("%+v: got %v", other, err)
		}
	}
	for _, bad := range []store.Product{
		{SKU: "mug", Title: "T"},
		{SKU: "", Title: "T"},
		{SKU: "A", Title: ""},
		{SKU: "A", Title: strings.Repeat("T", 201)},
		{SKU: "A", Title: "\xff"},
		{SKU: "A", Title: "T", PriceCents: -1},
	} {
		if _, err := s.CreateProduct(t.Context(), bad); !errors.Is(err, stock.ErrInvalidProduct) {
			t.Errorf("%+v: got %v", bad, err)
		}
	}
	if _, err := s.Product(t.Context(), "NOTHING"); !errors.Is(err, stock.ErrUnknownSKU) {
		t.Errorf("an unknown product: got %v", err)
	}
}

func TestStore_Receive(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	mustStock(t, s, 5)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := s.Receive(t.Context(), delivery("second", 7)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := s.Receive(t.Context(), delivery("second", 7))
	if err != nil || got.Available != 12 {
		t.Errorf("available %d, error %v; want 12: a delivery counts once", got.Available, err)
	}
	if _, err := s.Receive(t.Context(), delivery("second", 8)); !errors.Is(err, stock.ErrReferenceMismatch) {
		t.Errorf("the reference with another quantity: got %v", err)
	}
	other := delivery("third", 1)
	other.SKU = "NOTHING"
	if _, err := s.Receive(t.Context(), other); !errors.Is(err, stock.ErrUnknownSKU) {
		t.Errorf("an unknown SKU: got %v", err)
	}
	if _, err := s.Receive(t.Context(), delivery("third", 1)); err != nil {
		t.Errorf("the refused delivery has used up its reference: %v", err)
	}
	for _, bad := range []store.Inbound{delivery("x", 0), delivery("x", -1), delivery("x", store.MaxInbound+1), delivery("", 1), delivery("a b", 1), delivery("\u00fc", 1)} {
		if _, err := s.Receive(t.Context(), bad); !errors.Is(err, stock.ErrInvalidInbound) {
			t.Errorf("%+v: got %v", bad, err)
		}
	}
}

// TestStore_Seed_lockedRow: seeding again does not wait for an order that holds a row, such as a prepared branch.
func TestStore_Seed_lockedRow(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	if err := s.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	holder := db.Begin()
	defer holder.Rollback()
	if err := holder.Exec("UPDATE stock SET version = version + 1 WHERE sku = 'LAMP-LIMITED'").Error; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Seed(ctx); err != nil {
		t.Errorf("seed beside a locked row: %v", err)
	}
}

func TestStore_Products(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	for range 2 { // seeding again changes nothing
		if err := s.Seed(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Products(t.Context(), "", 100)
	if err != nil || len(all) != 10 {
		t.Fatalf("%d products, error %v", len(all), err)
	}
	var paged []store.Product
	for cursor := ""; ; {
		page, err := s.Products(t.Context(), cursor, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
		cursor = page[len(page)-1].SKU
	}
	if diff := cmp.Diff(all, paged); diff != "" {
		t.Errorf("page by page (-all +paged):\n%s", diff)
	}
	if lamp, err := s.Product(t.Context(), "LAMP-LIMITED"); err != nil || lamp.Available != 20 {
		t.Errorf("%+v, error %v", lamp, err)
	}
	for _, cursor := range []string{"\u00fc", "\xff", "~~~", "A' OR 1"} {
		if _, err := s.Products(t.Context(), cursor, 3); err != nil {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}

// reserve takes stock without any strategy.
func reserve(t *testing.T, s *store.Store, no string, quantity int64) {
	t.Helper()
	r := stock.Request{OrderNo: no, Strategy: "test", Lines: []stock.Line{{SKU: "MUG", Quantity: quantity}}}
	_, err := s.Ledger().Reserve(t.Context(), r, func(tx *gorm.DB, lines []stock.Line) error {
		return tx.Exec("UPDATE stock SET available = available - ?, reserved = reserved + ? WHERE sku = ?",
			lines[0].Quantity, lines[0].Quantity, lines[0].SKU).Error
	})
	if err != nil {
		t.Fatal(err)
	}
}

func nothing(*gorm.DB, []stock.Line) error { return nil }

func TestStore_Reservations(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	mustStock(t, s, 100)
	for i := range 7 {
		reserve(t, s, fmt.Sprintf("ORDER-%d", i), int64(i+1))
	}
	if err := db.Exec("UPDATE reservations SET created_at = created_at - INTERVAL 1 HOUR WHERE order_no = 'ORDER-3'").Error; err != nil {
		t.Fatal(err)
	}
	if err := s.Ledger().Release(t.Context(), "ORDER-9", func(*gorm.DB, string, []stock.Line) error { return nil }); err != nil {
		t.Fatal(err)
	}
	var got []string
	for after := ""; ; {
		page, err := s.Reservations(t.Context(), after, "", 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			if r.CreatedAt.IsZero() {
				t.Errorf("%s has no time", r.OrderNo)
			}
			if hours := r.AgeMS / time.Hour.Milliseconds(); hours != 0 && r.OrderNo != "ORDER-3" || hours != 1 && r.OrderNo == "ORDER-3" {
				t.Errorf("%s is %d ms old", r.OrderNo, r.AgeMS)
			}
			got = append(got, fmt.Sprint(r.OrderNo, " ", r.Status, " ", r.Lines))
		}
		after = page[len(page)-1].OrderNo
	}
	want := []string{
		"ORDER-0 reserved [{MUG 1}]", "ORDER-1 reserved [{MUG 2}]", "ORDER-2 reserved [{MUG 3}]", "ORDER-3 reserved [{MUG 4}]",
		"ORDER-4 reserved [{MUG 5}]", "ORDER-5 reserved [{MUG 6}]", "ORDER-6 reserved [{MUG 7}]", "ORDER-9 void []",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reservations (-want +got):\n%s", diff)
	}
	states, err := s.States(t.Context(), []string{"ORDER-3", "ORDER-9", "ORDER-8"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]stock.Status{"ORDER-3": stock.Reserved, "ORDER-9": stock.Void}, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func TestStore_Audit(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	mustStock(t, s, 10)
	reserve(t, s, "HELD", 2)
	reserve(t, s, "SOLD", 3)
	sell := func(tx *gorm.DB, _ string, lines []stock.Line) error {
		return tx.Exec("UPDATE stock SET reserved = reserved - ?, sold = sold + ? WHERE sku = ?", lines[0].Quantity, lines[0].Quantity, lines[0].SKU).Error
	}
	if err := s.Ledger().Confirm(t.Context(), "SOLD", sell); err != nil {
		t.Fatal(err)
	}
	// Units of a SKU without a stock row must not hide.
	err := db.Exec("INSERT INTO stock_inbound (sku, quantity, reference, reason, actor, created_at) VALUES ('GHOST', 4, 'ghost', '', '', NOW(6))").Error
	if err != nil {
		t.Fatal(err)
	}
	audit, err := s.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []store.Entry{
		{SKU: "GHOST", Inbound: 4},
		{SKU: "MUG", Layout: "row", Inbound: 10, Available: 5, Reserved: 2, Sold: 3, LinesReserved: 2, LinesConfirmed: 3},
	}
	if diff := cmp.Diff(want, audit.Entries); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if audit.TakenAt.IsZero() {
		t.Error("the audit has no time")
	}
}

// TestLedger_Undone: a move that fails undoes the whole transaction, the header's status included.
func TestLedger_Undone(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	mustStock(t, s, 10)
	reserve(t, s, "HELD", 2)
	broken := errors.New("broken")
	fail := func(*gorm.DB, string, []stock.Line) error { return broken }
	if err := s.Ledger().Confirm(t.Context(), "HELD", fail); !errors.Is(err, broken) {
		t.Errorf("confirm: got %v", err)
	}
	if err := s.Ledger().Release(t.Context(), "HELD", fail); !errors.Is(err, broken) {
		t.Errorf("release: got %v", err)
	}
	r := stock.Request{OrderNo: "NEW", Strategy: "test", Lines: []stock.Line{{SKU: "MUG", Quantity: 1}}}
	if _, err := s.Ledger().Reserve(t.Context(), r, func(*gorm.DB, []stock.Line) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("reserve: got %v", err)
	}
	states, err := s.States(t.Context(), []string{"HELD", "NEW"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]stock.Status{"HELD": stock.Reserved}, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// TestLedger_ReplayKeepsItsPrice: a repeated reserve answers with the price of the first day.
func TestLedger_ReplayKeepsItsPrice(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	mustStock(t, s, 10)
	r := stock.Request{OrderNo: "ORDER", Strategy: "test", Lines: []stock.Line{{SKU: "MUG", Quantity: 1}}}
	first, err := s.Ledger().Reserve(t.Context(), r, nothing)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Exec("UPDATE products SET price_cents = 1 WHERE sku = 'MUG'").Error; err != nil {
		t.Fatal(err)
	}
	again, err := s.Ledger().Reserve(t.Context(), r, func(*gorm.DB, []stock.Line) error {
		t.Error("a known order was deducted again")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, again); diff != "" || again.AmountCents() != 1290 {
		t.Errorf("the repeat's receipt:\n%s", diff)
	}
}

// TestLedger_DatabaseDown: without a database nothing is executed, and the fault says so.
func TestLedger_DatabaseDown(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	mustStock(t, s, 10)
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	_ = pool.Close()
	r := stock.Request{OrderNo: "ORDER", Strategy: "test", Lines: []stock.Line{{SKU: "MUG", Quantity: 1}}}
	if _, err := s.Ledger().Reserve(t.Context(), r, nothing); err == nil || fault.Ambiguous(err) {
		t.Errorf("reserve: got %v, ambiguous %v", err, fault.Ambiguous(err))
	}
	if _, err := s.Products(context.Background(), "", 1); err == nil {
		t.Error("the catalogue answers without a database")
	}
}

func TestCheckOrderNo(t *testing.T) {
	t.Parallel()
	for no, ok := range map[string]bool{
		"01J9ZK3V7Y8QW4M2N6P0R5T1XA": true, "A": true, "a-b_c.d:e": true,
		"": false, " A": false, "A ": false, "A\n": false, "\u00c4": false, "01J9ZK3V7Y8QW4M2N6P0R5T1XAB": false,
	} {
		if err := stock.CheckOrderNo(no); (err == nil) != ok {
			t.Errorf("%q: %v", no, err)
		}
	}
}
