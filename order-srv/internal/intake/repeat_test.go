package intake_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"holdfast/order-srv/internal/order"
)

// TestIntake_Place_repeat: the answer about a placed order is not stored. A repeat gets it all the same, byte by byte,
// whatever became of the order.
func TestIntake_Place_repeat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := map[string]string{}
	ends := map[string]func(orderNo string) error{
		"placed":    func(string) error { return nil },
		"paid":      func(no string) error { _, err := w.Orders.Pay(t.Context(), "ann", no); return err },
		"cancelled": func(no string) error { _, err := w.Orders.Cancel(t.Context(), "ann", no); return err },
		"refunded": func(no string) error {
			if _, err := w.Orders.Pay(t.Context(), "ann", no); err != nil {
				return err
			}
			_, err := w.Orders.RefundDue(t.Context(), no, "closed")
			return err
		},
	}
	for name, end := range ends {
		reply := w.MustPlace(name, http.StatusCreated)
		first[name] = string(reply.Body)
		if err := end(reply.OrderNo); err != nil {
			t.Fatal(err)
		}
		if again := w.MustPlace(name, http.StatusCreated); string(again.Body) != first[name] {
			t.Errorf("%s: the repeat got\n%s\nthe first\n%s", name, again.Body, first[name])
		}
	}
	for _, part := range []string{`"status":"PLACED"`, `"created_at":"`, `"expires_at":"`, `"amount_cents":`, `"items":[{"sku":"A","quantity":2,`} {
		if !strings.Contains(first["paid"], part) {
			t.Errorf("the answer has no %s: %s", part, first["paid"])
		}
	}
}

// TestIntake_Place_repeatOfOlder: an order of the version before has its answer stored, and the whole hash of its
// request.
func TestIntake_Place_repeatOfOlder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	no := w.MustPlace("k", http.StatusCreated).OrderNo
	// sha256 of "\nA 2\nB 1\n": the request of ordertest.
	const hash = "b047686e43683a3b053c10c901ef8715c5a423f5fd39a3ec26693992807cf564"
	if err := w.DB.Exec(`UPDATE orders SET response_body = '"an older answer"', request_hash = ?, request_digest = NULL WHERE order_no = ?`, hash, no).Error; err != nil {
		t.Fatal(err)
	}
	if again := w.MustPlace("k", http.StatusCreated); string(again.Body) != "an older answer" {
		t.Errorf("the repeat got %s", again.Body)
	}
	if err := w.DB.Exec("UPDATE orders SET request_hash = REVERSE(request_hash) WHERE order_no = ?", no).Error; err != nil {
		t.Fatal(err)
	}
	if _, err := w.Place("k"); !errors.Is(err, order.ErrIdempotency) {
		t.Errorf("another request with the key: %v", err)
	}
}
