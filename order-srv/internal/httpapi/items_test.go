package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/ordertest"
)

// TestItems_later: an order of tx-message has no items while it is pending, in the first answer, in the answer to a
// repeat and when it is read. One that is decided has them, also if it was refused.
func TestItems_later(t *testing.T) {
	t.Parallel()
	const none = `"items":[]`
	w := newWorld(t, ordertest.Lost)
	first := w.call(http.MethodPost, "/v1/orders", "ann", one)
	if first.status != 202 || !strings.Contains(first.body, none) {
		t.Fatalf("%d %s, want 202 without items", first.status, first.body)
	}
	no := first.order(t).OrderNo
	if again := w.call(http.MethodPost, "/v1/orders", "ann", one); again.status != 202 || again.body != first.body {
		t.Errorf("the repeat: %d %s, want %s", again.status, again.body, first.body)
	}
	if got := w.call(http.MethodGet, "/v1/orders/"+no, "ann", ""); got.status != 200 || !strings.Contains(got.body, none) {
		t.Errorf("read: %d %s", got.status, got.body)
	}

	w = newWorld(t, ordertest.Refuse(inventoryapi.ErrOutOfStock))
	if r := w.call(http.MethodPost, "/v1/orders", "ann", one); r.status != 409 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := w.call(http.MethodGet, "/v1/orders", "ann", ""); !strings.Contains(r.body, `"items":[{"sku":"A","quantity":2}]`) {
		t.Errorf("the refused order: %s", r.body)
	}

	w = newWorld(t, ordertest.OK)
	placed := w.call(http.MethodPost, "/v1/orders", "ann", one)
	if r := w.call(http.MethodGet, "/v1/orders/"+placed.order(t).OrderNo, "ann", ""); r.body != placed.body {
		t.Errorf("read: %s\nplaced: %s", r.body, placed.body)
	}
}
