package gateway_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/check"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/web"
)

const one = `{"items":[{"sku":"A","quantity":2}]}`

func placed() orderapi.Order {
	expires := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	return orderapi.Order{
		OrderNo: "01ORDER", Status: orderapi.StatusPlaced, AmountCents: 500,
		Items:     []orderapi.Item{{SKU: "A", Quantity: 2, Title: "Thing", UnitPriceCents: 250}},
		CreatedAt: expires.Add(-time.Minute), ExpiresAt: &expires,
	}
}

// wantBody compares an answer with the JSON of want.
func wantBody(tb testing.TB, a answer, status int, want any) {
	tb.Helper()
	b, err := json.Marshal(want)
	if err != nil {
		tb.Fatal(err)
	}
	if diff := cmp.Diff(string(b), a.body); a.status != status || diff != "" {
		tb.Errorf("status %d, want %d; body (-want +got):\n%s", a.status, status, diff)
	}
}

func TestPlaceOrder(t *testing.T) {
	t.Parallel()
	d := open(t, options{}, map[string]any{"POST /v1/orders": placed()}, nil)
	d.orders.status = http.StatusCreated
	a := d.do("POST", "/v1/orders", one, d.token("ann", "buyer"), "Idempotency-Key: k~1!", "X-Request-ID: r1")
	wantBody(t, a, 201, placed())

	calls := d.orders.seen()
	if len(calls) != 1 {
		t.Fatalf("order-srv was asked %d times", len(calls))
	}
	got := calls[0]
	if want := `{"idempotency_key":"k~1!","items":[{"sku":"A","quantity":2}]}`; got.body != want {
		t.Errorf("sent %s, want %s", got.body, want)
	}
	for name, want := range map[string]string{
		"X-User-Id": "ann", "X-User-Role": "buyer", "X-Request-Id": "r1", "Idempotency-Key": "", "Authorization": "",
	} {
		if got.header.Get(name) != want {
			t.Errorf("header %s is %q inside, want %q", name, got.header.Get(name), want)
		}
	}
	if ms, err := strconv.Atoi(got.header.Get(header.Deadline)); err != nil || ms < 1 || ms > 5000 {
		t.Errorf("%s is %q, want what remains of 5 s", header.Deadline, got.header.Get(header.Deadline))
	}
}

func TestPlaceOrder_identityComesFromTheTokenAlone(t *testing.T) {
	t.Parallel()
	d := open(t, options{}, map[string]any{"POST /v1/orders": placed()}, nil)
	d.do("POST", "/v1/orders", one, d.token("ann", "buyer"), "Idempotency-Key: k", "X-User-ID: bob", "X-User-Role: admin")
	if h := d.orders.seen()[0].header; h.Get("X-User-ID") != "ann" || h.Get("X-User-Role") != "buyer" || len(h.Values("X-User-ID")) != 1 {
		t.Errorf("inside it is %v as %v", h.Values("X-User-ID"), h.Values("X-User-Role"))
	}
}

func TestPlaceOrder_pending(t *testing.T) {
	t.Parallel()
	pending := orderapi.Order{OrderNo: "01ORDER", Status: orderapi.StatusPending, Items: []orderapi.Item{{SKU: "A", Quantity: 2}}}
	d := open(t, options{}, map[string]any{"POST /v1/orders": pending}, nil)
	d.orders.status = http.StatusAccepted
	a := d.do("POST", "/v1/orders", one, d.token("ann", "buyer"), "Idempotency-Key: k")
	wantBody(t, a, 202, pending)
	if got := a.header.Get("Location"); got != "/v1/orders/01ORDER" {
		t.Errorf("Location is %q", got)
	}
}

func TestPlaceOrder_strategyInTheLab(t *testing.T) {
	t.Parallel()
	d := open(t, options{lab: true}, map[string]any{"POST /v1/orders": placed()}, nil)
	d.do("POST", "/v1/orders", one, d.token("ann", "buyer"), "Idempotency-Key: k", "X-Stock-Strategy: for-update")
	if got, want := d.orders.seen()[0].body, `{"idempotency_key":"k","items":[{"sku":"A","quantity":2}],"strategy":"for-update"}`; got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
}

func TestPlaceOrder_flowInTheLab(t *testing.T) {
	t.Parallel()
	d := open(t, options{lab: true}, map[string]any{"POST /v1/orders": placed()}, nil)
	d.do("POST", "/v1/orders", one, d.token("ann", "buyer"), "Idempotency-Key: k", "X-Order-Flow: queue")
	if got, want := d.orders.seen()[0].body, `{"idempotency_key":"k","items":[{"sku":"A","quantity":2}],"flow":"queue"}`; got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
}

func TestCreateProduct_inTheLab(t *testing.T) {
	t.Parallel()
	product := inventoryapi.Product{SKU: "A", Title: "Thing", PriceCents: 250, Lab: true}
	d := open(t, options{lab: true}, nil, map[string]any{"POST /v1/products": product})
	sent := `{"sku":"A","title":"Thing","price_cents":250,"lab":true}`
	wantBody(t, d.do("POST", "/v1/admin/products", sent, d.token("root", "admin")), 201, product)
	if got := d.inventory.seen()[0].body; got != sent {
		t.Errorf("sent %s, want %s", got, sent)
	}
}

// TestPlaceOrder_problemsGoThrough: code, details and the mark of ambiguity arrive as the service said them.
func TestPlaceOrder_problemsGoThrough(t *testing.T) {
	t.Parallel()
	for _, f := range []*fault.Error{
		inventoryapi.ErrOutOfStock.With("short", []any{map[string]any{"sku": "A", "requested": 2.0, "available": 1.0}}),
		inventoryapi.ErrUnknownSKU, inventoryapi.ErrContended, orderapi.ErrIdempotency, orderapi.ErrBrokerUnavailable,
		fault.New(fault.Unavailable, "commit_unknown", "who knows"), fault.ErrInternal, fault.ErrTimeout,
	} {
		d := open(t, options{}, map[string]any{"POST /v1/orders": f}, nil)
		a := d.do("POST", "/v1/orders", one, d.token("ann", "buyer"), "Idempotency-Key: k")
		p := d.problem(a)
		if a.status != web.Status(f.Kind) || p.Code != f.Code || p.Ambiguous != f.Ambiguous || p.Detail != f.Text {
			t.Errorf("%s: got %d %+v", f.Code, a.status, p)
		}
		if diff := cmp.Diff(f.Details, p.Details); diff != "" {
			t.Errorf("%s: details: %s", f.Code, diff)
		}
	}
}

func TestOrders_readPayCancel(t *testing.T) {
	t.Parallel()
	page := orderapi.OrderPage{Orders: []orderapi.Order{placed()}, NextCursor: "c2"}
	d := open(t, options{}, map[string]any{
		"GET /v1/orders?cursor=&limit=50":       page,
		"GET /v1/orders?cursor=c%261&limit=7":   page,
		"GET /v1/orders/01ORDER":                placed(),
		"POST /v1/orders/01ORDER/payment":       placed(),
		"POST /v1/orders/01ORDER/cancellation":  orderapi.ErrNotCancellable,
		"POST /v1/orders/01OTHERS/cancellation": orderapi.ErrNotFound,
	}, nil)
	ann := d.token("ann", "buyer")
	wantBody(t, d.do("GET", "/v1/orders", "", ann), 200, page)
	wantBody(t, d.do("GET", "/v1/orders?limit=7&cursor=c%261", "", ann), 200, page)
	wantBody(t, d.do("GET", "/v1/orders/01ORDER", "", ann), 200, placed())
	wantBody(t, d.do("POST", "/v1/orders/01ORDER/payment", "", ann), 200, placed())
	if a := d.do("POST", "/v1/orders/01ORDER/cancellation", "", ann); a.status != 409 || d.problem(a).Code != "not_cancellable" {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if a := d.do("POST", "/v1/orders/01OTHERS/cancellation", "", ann); a.status != 404 || d.problem(a).Code != "unknown_order" {
		t.Errorf("got %d %s", a.status, a.body)
	}
	for _, c := range d.orders.seen() {
		if c.header.Get("X-User-ID") != "ann" {
			t.Errorf("%s was asked for %q", c.route, c.header.Get("X-User-ID"))
		}
	}
}

func TestProducts_needNoToken(t *testing.T) {
	t.Parallel()
	product := inventoryapi.Product{SKU: "A", Title: "Thing", PriceCents: 250, Available: 3}
	page := inventoryapi.ProductPage{Products: []inventoryapi.Product{product}}
	d := open(t, options{}, nil, map[string]any{
		"GET /v1/products?cursor=&limit=50": page, "GET /v1/products/A": product, "GET /v1/products/B": inventoryapi.ErrUnknownSKU,
	})
	wantBody(t, d.do("GET", "/v1/products", ""), 200, page)
	wantBody(t, d.do("GET", "/v1/products/A", ""), 200, product)
	if a := d.do("GET", "/v1/products/B", ""); a.status != 404 || d.problem(a).Code != "unknown_sku" {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	product := inventoryapi.Product{SKU: "A", Title: "Thing", PriceCents: 250}
	strategies := inventoryapi.Strategies{Default: "redis-lock", Strategies: []inventoryapi.Strategy{{Name: "redis-lock", Safe: true}}}
	report := check.Report{Orders: map[string]int{"PAID": 1}, Violations: []check.Violation{}, Unsettled: []check.Violation{}}
	letters := orderapi.DeadLetters{DeadLetters: []orderapi.DeadLetter{{Source: "outbox", ID: "1", Key: "O"}}}
	resent := orderapi.ResendResponse{Resent: 1}
	job := orderapi.AuditJob{ID: "J", State: orderapi.AuditDone, Full: true, Report: &report}
	d := open(t, options{},
		map[string]any{"GET /v1/audit": report, "POST /v1/audits": job, "GET /v1/audits/J": job, "GET /v1/dead-letters?limit=7": letters, "POST /v1/dead-letters/resend": resent},
		map[string]any{"POST /v1/products": product, "POST /v1/products/A/inbound": product, "PUT /v1/products/A/layout": product, "GET /v1/strategies": strategies})
	root := d.token("root", "admin")
	wantBody(t, d.do("POST", "/v1/admin/products", `{"sku":"A","title":"Thing","price_cents":250}`, root), 201, product)
	wantBody(t, d.do("POST", "/v1/admin/products/A/inbound", `{"quantity":5,"reference":"d1","reason":"delivery"}`, root), 200, product)
	wantBody(t, d.do("GET", "/v1/admin/strategies", "", root), 200, strategies)
	wantBody(t, d.do("GET", "/v1/admin/audit", "", root), 200, report)
	requested := d.do("POST", "/v1/admin/audits", `{"full":true}`, root)
	wantBody(t, requested, 202, job)
	if got := requested.header.Get("Location"); got != "/v1/admin/audits/J" {
		t.Errorf("the audit is at %q", got)
	}
	wantBody(t, d.do("GET", "/v1/admin/audits/J", "", root), 200, job)
	wantBody(t, d.do("GET", "/v1/admin/dead-letters?limit=7", "", root), 200, letters)
	wantBody(t, d.do("POST", "/v1/admin/dead-letters/resend", `{"source":"outbox","limit":3}`, root), 200, resent)
	if got, want := d.orders.seen()[4].body, `{"source":"outbox","limit":3}`; got != want {
		t.Errorf("resend sent %s, want %s", got, want)
	}
	wantBody(t, d.do("PUT", "/v1/admin/products/A/layout", `{"layout":"buckets","buckets":8}`, root), 200, product)
	if got, want := d.inventory.seen()[3].body, `{"layout":"buckets","buckets":8}`; got != want {
		t.Errorf("the change of layout sent %s, want %s", got, want)
	}
	if got, want := d.inventory.seen()[1].body, `{"quantity":5,"reference":"d1","reason":"delivery","actor":"root"}`; got != want {
		t.Errorf("inbound sent %s, want %s", got, want)
	}
	if h := d.orders.seen()[0].header; h.Get("X-User-ID") != "root" || h.Get("X-User-Role") != "admin" {
		t.Errorf("the audit was asked for as %v", h)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	d := open(t, options{}, map[string]any{"GET /v1/orders/01ORDER": placed()}, nil)
	a := d.do("POST", "/v1/login", `{"user":"ann","role":"buyer"}`)
	var out struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(a.body), &out); err != nil || a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	wantBody(t, d.do("GET", "/v1/orders/01ORDER", "", "Authorization: bearer "+out.Token), 200, placed())

	closed := open(t, options{noLogin: true}, nil, nil)
	if a := closed.do("POST", "/v1/login", `{"user":"ann","role":"admin"}`); a.status != 404 || closed.problem(a).Code != "not_found" {
		t.Errorf("without DEMO_LOGIN: got %d %s", a.status, a.body)
	}
}

func TestBackEndDown(t *testing.T) {
	t.Parallel()
	d := open(t, options{orders: "http://" + testkit.RefusingAddr(t), timeout: 2 * time.Second}, nil, nil)
	begin := time.Now()
	a := d.do("POST", "/v1/orders", one, d.token("ann", "buyer"), "Idempotency-Key: k")
	if p := d.problem(a); a.status != 503 || p.Code != "order_unavailable" || p.Ambiguous {
		t.Errorf("got %d %+v, want 503 and not executed", a.status, p)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestBackEndHangs(t *testing.T) {
	t.Parallel()
	d := open(t, options{timeout: 100 * time.Millisecond}, nil, nil)
	d.orders.hang = true
	begin := time.Now()
	a := d.do("POST", "/v1/orders", one, d.token("ann", "buyer"), "Idempotency-Key: k")
	if p := d.problem(a); a.status != 504 || p.Code != "order_timeout" || !p.Ambiguous {
		t.Errorf("got %d %+v, want 504 and maybe executed", a.status, p)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if n := len(d.orders.seen()); n != 1 {
		t.Errorf("the order was sent %d times", n)
	}
}
