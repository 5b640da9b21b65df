package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/fault"
	"holdfast/sql"
)

func newStore(t *testing.T) (*store.Store, *gorm.DB) {
	t.Helper()
	db := dbtest.New(t, sql.Orders())
	return store.New(db, nil), db
}

// newOrder is an order of two SKUs by ann, with a key of its own.
func newOrder() order.Order {
	no := ulid.Make().String()
	return order.Order{
		OrderNo: no, GroupID: no, UserID: "ann", IdempotencyKey: "key-" + no, RequestHash: ordertest.RequestHash, Flow: "test",
		Items: []order.Item{{SKU: "A", Quantity: 2}, {SKU: "B", Quantity: 1}},
	}
}

func receipt() []order.Item {
	return []order.Item{
		{SKU: "A", Title: "Thing \u00e4", Quantity: 2, UnitPriceCents: 100},
		{SKU: "B", Title: "Other", Quantity: 1, UnitPriceCents: 50},
	}
}

func placement() store.Placement {
	return store.Placement{Items: receipt(), Strategy: "for-update"}
}

// soldOut has characters that a database might want to improve, and its details have an order.
func soldOut() error {
	return fault.New(fault.Conflict, "out_of_stock", "sold <\u00e4> out").With("short", []any{map[string]any{"z": 1.5, "a": "<\u00e4>"}})
}

func insert(t *testing.T, s *store.Store, o order.Order) order.Order {
	t.Helper()
	return insertFor(t, s, o, ordertest.Window)
}

func insertFor(t *testing.T, s *store.Store, o order.Order, window time.Duration) order.Order {
	t.Helper()
	if _, inserted, err := ordertest.InsertFor(t.Context(), s, o, window); err != nil || !inserted {
		t.Fatalf("insert: inserted %v, error %v", inserted, err)
	}
	return get(t, s, o.OrderNo)
}

// place inserts an order and places it.
func place(t *testing.T, s *store.Store, window time.Duration) order.Order {
	t.Helper()
	o := insertFor(t, s, newOrder(), window)
	if _, err := ordertest.Place(t.Context(), s, o.OrderNo, placement()); err != nil {
		t.Fatalf("place: %v", err)
	}
	return get(t, s, o.OrderNo)
}

func get(t *testing.T, s *store.Store, orderNo string) order.Order {
	t.Helper()
	o, err := s.Get(t.Context(), "ann", orderNo)
	if err != nil {
		t.Fatalf("get %s: %v", orderNo, err)
	}
	return o
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want %v", what, got, want)
	}
}

// events returns the ids of an order's events in the order of the outbox, without the order number.
func events(t *testing.T, db *gorm.DB, orderNo string) []string {
	t.Helper()
	var ids []string
	must(t, db.Raw("SELECT SUBSTRING(event_id, 28) FROM outbox WHERE shard_key = ? ORDER BY id", orderNo).Scan(&ids).Error)
	return ids
}

// age makes an order older than it is.
func age(t *testing.T, db *gorm.DB, orderNo string, by time.Duration) {
	t.Helper()
	must(t, db.Exec(`UPDATE orders SET created_at = created_at - INTERVAL ? MICROSECOND, updated_at = updated_at - INTERVAL ? MICROSECOND,
		expires_at = expires_at - INTERVAL ? MICROSECOND, due_at = due_at - INTERVAL ? MICROSECOND WHERE order_no = ?`,
		by.Microseconds(), by.Microseconds(), by.Microseconds(), by.Microseconds(), orderNo).Error)
}
