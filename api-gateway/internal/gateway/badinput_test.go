package gateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/api-gateway/internal/gateway"
)

// TestBadInput sends what buggy and hostile clients send. Each request gets a 4xx problem whose code names the fault,
// and reaches no back end.
func TestBadInput(t *testing.T) {
	t.Parallel()
	const (
		one = `{"items":[{"sku":"A","quantity":1}]}`
		key = "Idempotency-Key: k1"
	)
	d := open(t, options{}, nil, nil)
	buyer, admin := d.token("ann", "buyer"), d.token("root", "admin")
	quantity := func(q string) string { return `{"items":[{"sku":"A","quantity":` + q + `}]}` }
	tests := []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		code                     string
	}{
		{"unknown field", "POST", "/v1/orders", `{"items":[{"sku":"A","quantity":1}],"price":1}`, []string{buyer, key}, 400, "unknown_field"},
		{"unknown field of an item", "POST", "/v1/orders", `{"items":[{"sku":"A","qty":1}]}`, []string{buyer, key}, 400, "unknown_field"},
		{"key in the body", "POST", "/v1/orders", `{"idempotency_key":"k","items":[{"sku":"A","quantity":1}]}`, []string{buyer, key}, 400, "unknown_field"},
		{"quantity is a text", "POST", "/v1/orders", quantity(`"1"`), []string{buyer, key}, 400, "invalid_type"},
		{"quantity is a fraction", "POST", "/v1/orders", quantity(`1.5`), []string{buyer, key}, 400, "invalid_type"},
		{"quantity beyond 64 bits", "POST", "/v1/orders", quantity(`9223372036854775808`), []string{buyer, key}, 400, "invalid_type"},
		{"items is an object", "POST", "/v1/orders", `{"items":{}}`, []string{buyer, key}, 400, "invalid_type"},
		{"null", "POST", "/v1/orders", `null`, []string{buyer, key}, 400, "invalid_type"},
		{"no JSON", "POST", "/v1/orders", `items=A`, []string{buyer, key}, 400, "invalid_json"},
		{"empty body", "POST", "/v1/orders", ``, []string{buyer, key, "Content-Type: application/json"}, 400, "invalid_json"},
		{"two values", "POST", "/v1/orders", one + one, []string{buyer, key}, 400, "invalid_json"},
		{"a form", "POST", "/v1/orders", `items=A`, []string{buyer, key, "Content-Type: application/x-www-form-urlencoded"}, 400, "invalid_content_type"},
		{"bad UTF-8", "POST", "/v1/orders", "{\"items\":[{\"sku\":\"\xff\",\"quantity\":1}]}", []string{buyer, key}, 400, "invalid_utf8"},
		{"body over the limit", "POST", "/v1/orders", `{"items":[` + strings.Repeat(" ", gateway.MaxBody) + `]}`, []string{buyer, key}, 413, "body_too_large"},

		{"no items", "POST", "/v1/orders", `{"items":[]}`, []string{buyer, key}, 400, "invalid_lines"},
		{"no field items", "POST", "/v1/orders", `{}`, []string{buyer, key}, 400, "invalid_lines"},
		{"quantity zero", "POST", "/v1/orders", quantity(`0`), []string{buyer, key}, 400, "invalid_lines"},
		{"quantity negative", "POST", "/v1/orders", quantity(`-1`), []string{buyer, key}, 400, "invalid_lines"},
		{"quantity too large", "POST", "/v1/orders", quantity(`10001`), []string{buyer, key}, 400, "invalid_lines"},
		{"quantity null", "POST", "/v1/orders", quantity(`null`), []string{buyer, key}, 400, "invalid_lines"},
		{"101 lines", "POST", "/v1/orders", items(101), []string{buyer, key}, 400, "invalid_lines"},
		{"one SKU twice", "POST", "/v1/orders", `{"items":[{"sku":"A","quantity":1},{"sku":"A","quantity":2}]}`, []string{buyer, key}, 400, "invalid_lines"},
		{"lower case SKU", "POST", "/v1/orders", `{"items":[{"sku":"a","quantity":1}]}`, []string{buyer, key}, 400, "invalid_lines"},
		{"SKU too long", "POST", "/v1/orders", `{"items":[{"sku":"` + strings.Repeat("A", 65) + `","quantity":1}]}`, []string{buyer, key}, 400, "invalid_lines"},

		{"no key", "POST", "/v1/orders", one, []string{buyer}, 400, "missing_idempotency_key"},
		{"empty key", "POST", "/v1/orders", one, []string{buyer, "Idempotency-Key: "}, 400, "missing_idempotency_key"},
		{"key too long", "POST", "/v1/orders", one, []string{buyer, "Idempotency-Key: " + strings.Repeat("k", 256)}, 400, "invalid_idempotency_key"},
		{"key with a space", "POST", "/v1/orders", one, []string{buyer, "Idempotency-Key: a b"}, 400, "invalid_idempotency_key"},
		{"key beyond ASCII", "POST", "/v1/orders", one, []string{buyer, "Idempotency-Key: clé"}, 400, "invalid_idempotency_key"},
		{"two keys", "POST", "/v1/orders", one, []string{buyer, key, "Idempotency-Key: k2"}, 400, "invalid_idempotency_key"},
		{"strategy outside the lab", "POST", "/v1/orders", one, []string{buyer, key, "X-Stock-Strategy: for-update"}, 403, "strategy_not_allowed"},
		{"flow outside the lab", "POST", "/v1/orders", one, []string{buyer, key, "X-Order-Flow: queue"}, 403, "flow_not_allowed"},

		{"no token", "POST", "/v1/orders", one, []string{key}, 401, "unauthenticated"},
		{"no token to read", "GET", "/v1/orders", ``, nil, 401, "unauthenticated"},
		{"basic authentication", "GET", "/v1/orders", ``, []string{"Authorization: Basic YTpi"}, 401, "unauthenticated"},
		{"bearer of nothing", "GET", "/v1/orders", ``, []string{"Authorization: Bearer "}, 401, "unauthenticated"},
		{"token of garbage", "GET", "/v1/orders", ``, []string{"Authorization: Bearer a.b.c"}, 401, "unauthenticated"},
		{"buyer as admin", "POST", "/v1/admin/products", `{"sku":"X","title":"X","price_cents":1}`, []string{buyer}, 403, "forbidden"},
		{"buyer brings stock", "POST", "/v1/admin/products/A/inbound", `{"quantity":1,"reference":"r","reason":"r"}`, []string{buyer}, 403, "forbidden"},
		{"buyer changes a layout", "PUT", "/v1/admin/products/A/layout", `{"layout":"units"}`, []string{buyer}, 403, "forbidden"},
		{"buyer audits", "GET", "/v1/admin/audit", ``, []string{buyer}, 403, "forbidden"},
		{"buyer lists dead letters", "GET", "/v1/admin/dead-letters", ``, []string{buyer}, 403, "forbidden"},
		{"buyer resends dead letters", "POST", "/v1/admin/dead-letters/resend", `{}`, []string{buyer}, 403, "forbidden"},
		{"buyer lists strategies", "GET", "/v1/admin/strategies", ``, []string{buyer}, 403, "forbidden"},
		{"nobody audits", "GET", "/v1/admin/audit", ``, nil, 401, "unauthenticated"},

		{"actor in the body", "POST", "/v1/admin/products/A/inbound", `{"quantity":1,"reference":"r","reason":"r","actor":"me"}`, []string{admin}, 400, "unknown_field"},
		{"product for the lab outside of it", "POST", "/v1/admin/products", `{"sku":"A","title":"T","price_cents":1,"lab":true}`, []string{admin}, 403, "lab_not_allowed"},
		{"product of wrong types", "POST", "/v1/admin/products", `{"sku":1}`, []string{admin}, 400, "invalid_type"},
		{"limit is no number", "GET", "/v1/orders?limit=many", ``, []string{buyer}, 400, "invalid_parameter"},
		{"wait of nothing", "GET", "/v1/orders/01ORDER?wait=0s", ``, []string{buyer}, 400, "invalid_parameter"},
		{"wait for too long", "GET", "/v1/orders/01ORDER?wait=31s", ``, []string{buyer}, 400, "invalid_parameter"},
		{"wait that is no duration", "GET", "/v1/orders/01ORDER?wait=2", ``, []string{buyer}, 400, "invalid_parameter"},
		{"wait without a token", "GET", "/v1/orders/01ORDER?wait=2s", ``, nil, 401, "unauthenticated"},
		{"wait for an order number that leaves its path", "GET", "/v1/orders/..%2Faudit?wait=2s", ``, []string{buyer}, 404, "unknown_order"},
		{"limit too large", "GET", "/v1/products?limit=101", ``, nil, 400, "invalid_parameter"},
		{"order number that leaves its path", "GET", "/v1/orders/..%2F..%2Fv1%2Faudit", ``, []string{buyer}, 404, "unknown_order"},
		{"dots for an order number", "POST", "/v1/orders/../payment", ``, []string{buyer}, 404, "unknown_order"},
		{"order number with a query", "POST", "/v1/orders/A%3Fx=/cancellation", ``, []string{buyer}, 404, "unknown_order"},
		{"SKU that leaves its path", "GET", "/v1/products/..%2Faudit", ``, nil, 404, "unknown_sku"},
		{"inbound of a bad SKU", "POST", "/v1/admin/products/a%20b/inbound", `{"quantity":1,"reference":"r","reason":"r"}`, []string{admin}, 404, "unknown_sku"},
		{"layout of a bad SKU", "PUT", "/v1/admin/products/a%20b/layout", `{"layout":"units"}`, []string{admin}, 404, "unknown_sku"},
		{"no such route", "GET", "/v1/nothing", ``, []string{buyer}, 404, "not_found"},
		{"internal route", "POST", "/v1/reservations", `{"orders":[]}`, []string{admin}, 404, "not_found"},
		{"wrong method", "DELETE", "/v1/orders", ``, []string{buyer}, 405, "method_not_allowed"},

		{"login without user", "POST", "/v1/login", `{"role":"buyer"}`, nil, 400, "invalid_user"},
		{"login as a bad user", "POST", "/v1/login", `{"user":"a b","role":"buyer"}`, nil, 400, "invalid_user"},
		{"login as a long user", "POST", "/v1/login", `{"user":"` + strings.Repeat("u", 65) + `","role":"buyer"}`, nil, 400, "invalid_user"},
		{"login with a line break", "POST", "/v1/login", `{"user":"ann\n","role":"buyer"}`, nil, 400, "invalid_user"},
		{"login in a bad role", "POST", "/v1/login", `{"user":"ann","role":"root"}`, nil, 400, "invalid_role"},
	}
	for _, tt := range tests {
		a := d.do(tt.method, tt.path, tt.body, tt.headers...)
		p := d.problem(a)
		if a.status != tt.status || p.Code != tt.code || p.Ambiguous {
			t.Errorf("%s: got %d %s (ambiguous %v), want %d %s", tt.name, a.status, p.Code, p.Ambiguous, tt.status, tt.code)
		}
		if wantsToken := a.status == 401; wantsToken != (a.header.Get("WWW-Authenticate") == "Bearer") {
			t.Errorf("%s: status %d with WWW-Authenticate %q", tt.name, a.status, a.header.Get("WWW-Authenticate"))
		}
	}
	d.wantUntouched()
}

// TestBadTokens makes tokens as an attacker, or an attacker's library, would. Cold, the gateway has seen no token.
// Warm, it remembers the valid one from which the others are made, and has refused each of them before.
func TestBadTokens(t *testing.T) {
	t.Parallel()
	bad, valid := badTokens(t)
	t.Run("cold", func(t *testing.T) {
		t.Parallel()
		for name, token := range bad {
			d := open(t, options{}, nil, nil)
			wantRefused(t, d, name, token)
			d.wantUntouched()
		}
	})
	t.Run("warm", func(t *testing.T) {
		t.Parallel()
		d := open(t, options{}, nil, nil)
		for range 2 {
			if _, err := d.tokens.Verify(valid); err != nil {
				t.Fatalf("the token that the bad ones are made from is not valid itself: %v", err)
			}
		}
		for range 2 {
			for name, token := range bad {
				wantRefused(t, d, name, token)
			}
		}
		d.wantUntouched()
	})
}

// wantRefused sends a token to a route for administrators.
func wantRefused(t *testing.T, d *door, name, token string) {
	t.Helper()
	a := d.do("GET", "/v1/admin/audit", "", "Authorization: Bearer "+token)
	if p := d.problem(a); a.status != 401 || p.Code != "unauthenticated" {
		t.Errorf("%s: got %d %s", name, a.status, a.body)
	}
}

// badTokens returns invalid tokens by their faults, and the valid token from which they are made.
func badTokens(t *testing.T) (bad map[string]string, valid string) {
	t.Helper()
	now := time.Now()
	good := func() jwt.MapClaims {
		return jwt.MapClaims{"iss": "holdfast", "sub": "ann", "role": "admin", "exp": now.Add(time.Hour).Unix()}
	}
	sign := func(method jwt.SigningMethod, key any, change map[string]any) string {
		claims := good()
		for name, value := range change {
			claims[name] = value
			if value == nil {
				delete(claims, name)
			}
		}
		token, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	hs256 := func(change map[string]any) string { return sign(jwt.SigningMethodHS256, []byte(secret), change) }
	valid = hs256(nil)
	head, rest, _ := strings.Cut(valid, ".")
	_, signature, _ := strings.Cut(rest, ".")
	_, otherRest, _ := strings.Cut(hs256(map[string]any{"sub": "bob"}), ".")
	otherPayload, _, _ := strings.Cut(otherRest, ".")

	return map[string]string{
		"alg none":              sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil),
		"another HMAC":          sign(jwt.SigningMethodHS512, []byte(secret), nil),
		"another secret":        sign(jwt.SigningMethodHS256, []byte(secret+"!"), nil),
		"an empty secret":       sign(jwt.SigningMethodHS256, []byte{}, nil),
		"expired":               hs256(map[string]any{"exp": now.Add(-time.Second).Unix()}),
		"no expiry":             hs256(map[string]any{"exp": nil}),
		"not yet valid":         hs256(map[string]any{"nbf": now.Add(time.Hour).Unix()}),
		"another issuer":        hs256(map[string]any{"iss": "somebody"}),
		"no issuer":             hs256(map[string]any{"iss": nil}),
		"no user":               hs256(map[string]any{"sub": nil}),
		"a user with a newline": hs256(map[string]any{"sub": "ann\nX-User-Role: admin"}),
		"no role":               hs256(map[string]any{"role": nil}),
		"an unknown role":       hs256(map[string]any{"role": "root"}),
		"a role list":           hs256(map[string]any{"role": []string{"admin"}}),
		"another's payload":     head + "." + otherPayload + "." + signature,
		"no signature":          head + "." + otherPayload + ".",
		"two parts":             head + "." + otherPayload,
		"a dot at the end":      valid + ".",
		"a changed signature":   valid[:len(valid)-2] + flipped(valid[len(valid)-2]) + valid[len(valid)-1:],
	}, valid
}

// flipped returns another character of base64.
func flipped(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func TestTokens_expire(t *testing.T) {
	t.Parallel()
	now := time.Now()
	tokens := gateway.NewTokens(secret, func() time.Time { return now })
	token, err := tokens.Issue(gateway.Caller{User: "a.b_c@d-E9", Role: "buyer"})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(24*time.Hour - time.Second)
	for range 2 { // the second time it is remembered
		if c, err := tokens.Verify(token); err != nil || c != (gateway.Caller{User: "a.b_c@d-E9", Role: "buyer"}) {
			t.Errorf("got %+v, %v", c, err)
		}
	}
	now = now.Add(2 * time.Second)
	if _, err := tokens.Verify(token); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("a day later: got %v, want expired", err)
	}
}
