package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/order-srv/orderapi"
	"holdfast/pkg/header"
)

// orders is a gateway whose order 7 goes through the statuses, one with each request for it.
func orders(t *testing.T, statuses ...string) (url string, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	answer := func(w http.ResponseWriter, r *http.Request) {
		text := r.Method + " " + r.URL.RequestURI()
		for _, name := range []string{header.Strategy, header.Flow} {
			if value := r.Header.Get(name); value != "" {
				text += " " + value
			}
		}
		*asked = append(*asked, text)
		o := orderapi.Order{OrderNo: "7", Status: statuses[0], AmountCents: 2507}
		statuses = slices.Delete(statuses, 0, 1)
		if o.Status == orderapi.StatusPlaced || o.Status == orderapi.StatusPaid {
			o.Items = []orderapi.Item{{SKU: "MUG", Title: "a mug", Quantity: 2, UnitPriceCents: 1253}}
		}
		if o.Status == "REJECTED" {
			o.Reason = "sold_out"
		}
		_ = json.NewEncoder(w).Encode(o)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/login", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token":"t"}`) })
	mux.HandleFunc("POST /v1/orders", func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header.Get(header.IdempotencyKey)) != 26 {
			t.Errorf("idempotency key %q, want a ULID", r.Header.Get(header.IdempotencyKey))
		}
		answer(w, r)
	})
	mux.HandleFunc("GET /v1/orders/7", answer)
	mux.HandleFunc("POST /v1/orders/7/payment", answer)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL, asked
}

// TestOrder places an order and waits until it is decided. It pays only what is placed, and only with --pay.
func TestOrder(t *testing.T) {
	t.Parallel()
	const place, wait, pay = "POST /v1/orders", "GET /v1/orders/7?wait=10s", "POST /v1/orders/7/payment"
	for name, tt := range map[string]struct {
		statuses []string
		flags    []string
		asked    []string
		code     int
		want     []string
		not      string
	}{
		"placed": {
			[]string{"PLACED"},
			nil,
			[]string{place},
			0,
			[]string{"order 7 is PLACED\n", "  2 x MUG (a mug) at 12.53\n", "  total 25.07\n"},
			"pending",
		},
		"paid":          {[]string{"PLACED", "PAID"}, []string{"--pay"}, []string{place, pay}, 0, []string{"order 7 is PAID\n"}, "PLACED"},
		"decided later": {[]string{"PENDING", "PENDING", "PLACED"}, nil, []string{place, wait, wait}, 0, []string{"still pending (202)", "order 7 is PLACED\n"}, ""},
		"in lab mode": {
			[]string{"PENDING", "PLACED"}, []string{"--strategy", "mutex", "--flow", "tcc"}, []string{place + " mutex tcc", wait}, 0, nil, "",
		},
		"rejected":       {[]string{"REJECTED"}, []string{"--pay"}, []string{place}, 1, []string{"order 7 is REJECTED\n"}, "total"},
		"rejected later": {[]string{"PENDING", "REJECTED"}, nil, []string{place, wait}, 1, []string{"order 7 is REJECTED\n"}, "total"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, asked := orders(t, tt.statuses...)
			var out bytes.Buffer
			err := run(t.Context(), append([]string{"--url", url, "--dir", t.TempDir(), "order", "--sku", "MUG", "--quantity", "2"}, tt.flags...), &out)
			if code(err) != tt.code || err != nil && !strings.Contains(err.Error(), "the order ended as REJECTED sold_out") {
				t.Errorf("status %d, error %v; want %d", code(err), err, tt.code)
			}
			if diff := cmp.Diff(tt.asked, *asked); diff != "" {
				t.Errorf("requests, want (-), got (+):\n%s", diff)
			}
			not := []string{"%!"}
			if tt.not != "" {
				not = append(not, tt.not)
			}
			says(t, out.String(), tt.want, not...)
		})
	}
}

// TestMoney: cents are never cut off.
func TestMoney(t *testing.T) {
	t.Parallel()
	for cents, want := range map[int64]string{0: "0.00", 5: "0.05", 100: "1.00", 12_345: "123.45"} {
		if got := money(cents); got != want {
			t.Errorf("%d cents: %s, want %s", cents, got, want)
		}
	}
}
