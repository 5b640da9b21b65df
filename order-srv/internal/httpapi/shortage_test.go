package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/ordertest"
)

// TestPlace_shortage compares a refusal by inventory with one by what order-srv remembers of it: the client gets the
// same answer, but for the number of an order that there is not.
func TestPlace_shortage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ordertest.Refuse(inventoryapi.OutOfStock([]inventoryapi.ShortLine{{SKU: "A", Requested: 2, Available: 1}})))
	var asked, remembered reply
	for i, end := 0, time.Now().Add(10*time.Second); remembered.status == 0 && time.Now().Before(end); i++ {
		r := w.call(http.MethodPost, "/v1/orders", "ann", fmt.Sprintf(`{"idempotency_key":"%d","items":[{"sku":"A","quantity":2}]}`, i))
		if _, named := unnamed(t, r); named {
			asked = r
		} else {
			remembered = r
		}
	}
	if asked.status != http.StatusConflict || remembered.status != http.StatusConflict {
		t.Fatalf("inventory's refusal: %d; remembered: %d", asked.status, remembered.status)
	}
	if got, want := remembered.header.Get("Content-Type"), asked.header.Get("Content-Type"); got != want {
		t.Errorf("type %q, want %q", got, want)
	}
	want, _ := unnamed(t, asked)
	got, _ := unnamed(t, remembered)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("body (-asked +remembered):\n%s", diff)
	}
}

// unnamed decodes a problem and removes what differs with each order: its number, and the id of the request.
func unnamed(t *testing.T, r reply) (problem map[string]any, named bool) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &problem); err != nil {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	details, ok := problem["details"].(map[string]any)
	if !ok {
		t.Fatalf("no details: %s", r.body)
	}
	_, named = details["order_no"]
	delete(details, "order_no")
	delete(problem, "request_id")
	return problem, named
}
