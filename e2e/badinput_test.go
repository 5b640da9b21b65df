package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestBadInput sends requests of faulty and hostile clients. Each must be answered with a 4xx problem whose code names
// the fault, and nothing may change.
func TestBadInput(t *testing.T) {
	t.Parallel()
	sh := newShop(t, setup{})
	sh.product("OK-1", 10)
	ann, bob := sh.login("ann", "buyer"), sh.login("bob", "buyer")
	own := sh.mustPlace(ann, "own", "OK-1")
	before := sh.audit(30 * time.Second)

	one := `{"items":[{"sku":"OK-1","quantity":1}]}`
	items := func(n int) string {
		lines := make([]string, n)
		for i := range lines {
			lines[i] = fmt.Sprintf(`{"sku":"S-%d","quantity":1}`, i)
		}
		return `{"items":[` + strings.Join(lines, ",") + `]}`
	}
	key := []string{"Idempotency-Key", "bad"}
	tests := []struct {
		name         string
		method, path string
		token, body  string
		headers      []string
		status       int
		code         string
	}{
		{"unknown field", "POST", "/v1/orders", ann, `{"items":[{"sku":"OK-1","quantity":1}],"price":1}`, key, 400, "unknown_field"},
		{"wrong type", "POST", "/v1/orders", ann, `{"items":[{"sku":"OK-1","quantity":"1"}]}`, key, 400, "invalid_type"},
		{"fraction", "POST", "/v1/orders", ann, `{"items":[{"sku":"OK-1","quantity":1.5}]}`, key, 400, "invalid_type"},
		{"no JSON", "POST", "/v1/orders", ann, `items=1`, key, 400, "invalid_json"},
		{"two values", "POST", "/v1/orders", ann, one + one, key, 400, "invalid_json"},
		{"no items", "POST", "/v1/orders", ann, `{"items":[]}`, key, 400, "invalid_lines"},
		{"zero", "POST", "/v1/orders", ann, `{"items":[{"sku":"OK-1","quantity":0}]}`, key, 400, "invalid_lines"},
		{"negative", "POST", "/v1/orders", ann, `{"items":[{"sku":"OK-1","quantity":-1}]}`, key, 400, "invalid_lines"},
		{"too many units", "POST", "/v1/orders", ann, `{"items":[{"sku":"OK-1","quantity":10001}]}`, key, 400, "invalid_lines"},
		{"101 lines", "POST", "/v1/orders", ann, items(101), key, 400, "invalid_lines"},
		{"one SKU twice", "POST", "/v1/orders", ann, `{"items":[{"sku":"OK-1","quantity":1},{"sku":"OK-1","quantity":1}]}`, key, 400, "invalid_lines"},
		{"lower case SKU", "POST", "/v1/orders", ann, `{"items":[{"sku":"ok-1","quantity":1}]}`, key, 400, "invalid_lines"},
		{"bad UTF-8", "POST", "/v1/orders", ann, "{\"items\":[{\"sku\":\"\xff\",\"quantity\":1}]}", key, 400, "invalid_utf8"},
		{"body over the limit", "POST", "/v1/orders", ann, `{"items":[` + strings.Repeat(" ", 2<<20) + `]}`, key, 413, "body_too_large"},
		{"unknown SKU", "POST", "/v1/orders", ann, `{"items":[{"sku":"NO-SUCH","quantity":1}]}`, []string{"Idempotency-Key", "unknown"}, 404, "unknown_sku"},
		{"missing key", "POST", "/v1/orders", ann, one, nil, 400, "missing_idempotency_key"},
		{"bad key", "POST", "/v1/orders", ann, one, []string{"Idempotency-Key", strings.Repeat("k", 256)}, 400, "invalid_idempotency_key"},
		{"key of another payload", "POST", "/v1/orders", ann, `{"items":[{"sku":"OK-1","quantity":2}]}`, []string{"Idempotency-Key", "own"}, 422, "idempotency_mismatch"},
		{"missing token", "POST", "/v1/orders", "", one, key, 401, "unauthenticated"},
		{"forged token", "POST", "/v1/orders", ann[:len(ann)-4] + "AAAA", one, key, 401, "unauthenticated"},
		{"alg none", "POST", "/v1/orders", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOjk5OTk5OTk5OTl9.", one, key, 401, "unauthenticated"},
		{"another user's order", "GET", "/v1/orders/" + own.OrderNo, bob, "", nil, 404, "unknown_order"},
		{"pay another user's order", "POST", "/v1/orders/" + own.OrderNo + "/payment", bob, "", nil, 404, "unknown_order"},
		{"no such order", "GET", "/v1/orders/NOPE", ann, "", nil, 404, "unknown_order"},
		{"buyer as admin", "POST", "/v1/admin/products", ann, `{"sku":"X","title":"X","price_cents":1}`, nil, 403, "forbidden"},
		{"buyer audits", "GET", "/v1/admin/audit", ann, "", nil, 403, "forbidden"},
		{"negative price", "POST", "/v1/admin/products", sh.admin, `{"sku":"X","title":"X","price_cents":-1}`, nil, 400, "invalid_product"},
		{"negative inbound", "POST", "/v1/admin/products/OK-1/inbound", sh.admin, `{"quantity":-5,"reference":"r","reason":"r"}`, nil, 400, "invalid_inbound"},
		{"inbound reference reused", "POST", "/v1/admin/products/OK-1/inbound", sh.admin, `{"quantity":5,"reference":"first-OK-1","reason":"r"}`, nil, 422, "reference_mismatch"},
		{"unknown strategy", "POST", "/v1/orders", ann, one, []string{"Idempotency-Key", "magic", "X-Stock-Strategy", "magic"}, 400, "unknown_strategy"},
		{"bad limit", "GET", "/v1/orders?limit=many", ann, "", nil, 400, "invalid_parameter"},
		{"no such route", "GET", "/v1/nothing", ann, "", nil, 404, "not_found"},
		{"wrong method", "DELETE", "/v1/orders", ann, "", nil, 405, "method_not_allowed"},
	}
	for _, tt := range tests {
		a := sh.must(tt.status, tt.method, tt.path, tt.token, tt.body, tt.headers...)
		if a.code() != tt.code {
			t.Errorf("%s: code %q, want %q\n%s", tt.name, a.code(), tt.code, a.Body)
		}
		if ct := a.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/problem+json") {
			t.Errorf("%s: content type %q", tt.name, ct)
		}
		if a.Header.Get("X-Request-ID") == "" {
			t.Errorf("%s: no request id", tt.name)
		}
	}
	after := sh.audit(30 * time.Second)
	if after.SKUs[0] != before.SKUs[0] {
		t.Errorf("the ledger changed from %+v to %+v", before.SKUs[0], after.SKUs[0])
	}
	if len(after.SKUs) != len(before.SKUs) {
		t.Errorf("a product appeared: %+v", after.SKUs)
	}
}

// TestIdempotentReplay repeats requests whose answers were lost: the same key must get the same status and body.
func TestIdempotentReplay(t *testing.T) {
	t.Parallel()
	sh := newShop(t, setup{})
	sh.product("ONE", 1)
	ann := sh.login("ann", "buyer")
	for _, tt := range []struct {
		key    string
		status int
	}{{"first", http.StatusCreated}, {"second", http.StatusConflict}} {
		first, err := sh.place(ann, tt.key, "ONE")
		if err != nil || first.Status != tt.status {
			t.Fatalf("%s: %v %d %s", tt.key, err, first.Status, first.Body)
		}
		again, err := sh.place(ann, tt.key, "ONE")
		if err != nil || again.Status != first.Status || again.code() != first.code() {
			t.Errorf("%s again: %v %d %s, want %d %s", tt.key, err, again.Status, again.Body, first.Status, first.Body)
		}
		if tt.status == http.StatusCreated && again.order(t).OrderNo != first.order(t).OrderNo {
			t.Errorf("%s again made another order", tt.key)
		}
	}
}
