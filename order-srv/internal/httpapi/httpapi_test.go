package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/httpapi"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/admit"
	"holdfast/pkg/header"
	"holdfast/sql"
)

// world is the API on a real database, with a fake inventory and a fake broker.
type world struct {
	t        *testing.T
	url      string
	store    *store.Store
	shutdown func() // returns when no request is served any more
}

func newWorld(t *testing.T, answers ...ordertest.Answer) *world {
	t.Helper()
	return newLimitedWorld(t, nil, nil, nil, answers...)
}

// newLimitedWorld is a world with limiters.
func newLimitedWorld(t *testing.T, placing, changing, reading *admit.Limiter, answers ...ordertest.Answer) *world {
	t.Helper()
	return openWorld(t, time.Second, placing, changing, reading, answers...)
}

func openWorld(t *testing.T, timeout time.Duration, placing, changing, reading *admit.Limiter, answers ...ordertest.Answer) *world {
	t.Helper()
	a := ordertest.Open(t, dbtest.NewDSN(t, sql.Orders()), ordertest.NewInventory(t, answers...), &ordertest.Broker{}, ordertest.Timeout(timeout))
	cfg := a.HTTP
	cfg.Engine.Credentials, cfg.Lab = nil, false
	cfg.Placing, cfg.Changing, cfg.Reading = placing, changing, reading
	cfg.Audits = audits{}
	server := httptest.NewServer(httpapi.New(cfg))
	t.Cleanup(server.Close)
	return &world{t: t, url: server.URL, store: a.Orders, shutdown: server.Close}
}

// audits are audits of which only the one that is called ENDED ends.
type audits struct{}

// Request implements httpapi.Audits.
func (audits) Request(_ context.Context, everything bool) (orderapi.AuditJob, error) {
	return orderapi.AuditJob{ID: "ENDED", State: "queued", Full: everything}, nil
}

// Get implements httpapi.Audits.
func (audits) Get(_ context.Context, id string) (orderapi.AuditJob, error) {
	if id != "ENDED" {
		return orderapi.AuditJob{}, orderapi.ErrUnknownAudit
	}
	return orderapi.AuditJob{ID: id, State: orderapi.AuditDone, Report: &orderapi.Audit{Unsent: 7}}, nil
}

// Wait implements httpapi.Audits.
func (audits) Wait(context.Context, string) (orderapi.Audit, error) {
	return orderapi.Audit{Unsent: 7}, nil
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) code() string {
	var p struct{ Code string }
	_ = json.Unmarshal([]byte(r.body), &p)
	return p.Code
}

func (r reply) order(t *testing.T) orderapi.Order {
	t.Helper()
	var o orderapi.Order
	if err := json.Unmarshal([]byte(r.body), &o); err != nil {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	return o
}

func (w *world) call(method, path, user, body string) reply {
	w.t.Helper()
	req, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if user != "" {
		req.Header.Set(header.UserID, user)
	}
	if user == "root" {
		req.Header.Set(header.UserRole, orderapi.RoleAdmin)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(b)}
}

const one = `{"idempotency_key":"k","items":[{"sku":"A","quantity":2}]}`

// TestReplay repeats a request whose answer got lost: same status, same type, same bytes.
func TestReplay(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer      ordertest.Answer
		status      int
		code        string
		contentType string
		location    bool
	}{
		"placed":   {ordertest.OK, 201, "", "application/json", false},
		"sold out": {ordertest.Refuse(inventoryapi.ErrOutOfStock.With("short", []any{map[string]any{"sku": "A", "requested": 2}})), 409, "out_of_stock", "application/problem+json", false},
		"pending":  {ordertest.Dropped, 202, "", "application/json", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.answer)
			first := w.call(http.MethodPost, "/v1/orders", "ann", one)
			again := w.call(http.MethodPost, "/v1/orders", "ann", one)
			for which, r := range map[string]reply{"first": first, "again": again} {
				if r.status != tt.status || r.code() != tt.code || r.header.Get("Content-Type") != tt.contentType {
					t.Errorf("%s: %d %s %s", which, r.status, r.header.Get("Content-Type"), r.body)
				}
				if (r.header.Get("Location") != "") != tt.location {
					t.Errorf("%s: location %q", which, r.header.Get("Location"))
				}
			}
			if !tt.location && again.body != first.body {
				t.Errorf("again got\n%s\nthe first got\n%s", again.body, first.body)
			}
			if tt.location {
				if got := w.call(http.MethodGet, first.header.Get("Location"), "ann", ""); got.status != 200 || got.order(t).Status != orderapi.StatusPending {
					t.Errorf("location: %d %s", got.status, got.body)
				}
			}
			other := w.call(http.MethodPost, "/v1/orders", "ann", strings.Replace(one, "2", "3", 1))
			if other.status != 422 || other.code() != "idempotency_mismatch" {
				t.Errorf("another payload: %d %s", other.status, other.body)
			}
		})
	}
}

func TestOrders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	placed := w.call(http.MethodPost, "/v1/orders", "ann", one).order(t)
	if placed.Status != orderapi.StatusPlaced || placed.AmountCents != 200 || placed.ExpiresAt == nil || placed.Items[0].Title == "" {
		t.Errorf("placed: %+v", placed)
	}
	path := "/v1/orders/" + placed.OrderNo
	if got := w.call(http.MethodGet, path, "ann", "").order(t); got.CreatedAt != placed.CreatedAt || got.Status != placed.Status {
		t.Errorf("got %+v, placed %+v", got, placed)
	}
	for range 2 {
		if got := w.call(http.MethodPost, path+"/payment", "ann", ""); got.status != 200 || got.order(t).Status != orderapi.StatusPaid {
			t.Errorf("payment: %d %s", got.status, got.body)
		}
	}
	if got := w.call(http.MethodPost, path+"/cancellation", "ann", ""); got.status != 409 || got.code() != "not_cancellable" {
		t.Errorf("cancellation of a paid order: %d %s", got.status, got.body)
	}
	second := w.call(http.MethodPost, "/v1/orders", "ann", strings.Replace(one, `"k"`, `"k2"`, 1)).order(t)
	var page orderapi.OrderPage
	if err := json.Unmarshal([]byte(w.call(http.MethodGet, "/v1/orders?limit=1", "ann", "").body), &page); err != nil || len(page.Orders) != 1 || page.Orders[0].OrderNo != second.OrderNo {
		t.Fatalf("newest first: %+v, error %v", page, err)
	}
	if got := w.call(http.MethodGet, "/v1/orders?limit=1&cursor="+page.NextCursor, "ann", ""); !strings.Contains(got.body, placed.OrderNo) || strings.Contains(got.body, "next_cursor") {
		t.Errorf("last page: %s", got.body)
	}
	if got := w.call(http.MethodGet, "/v1/orders", "bob", ""); got.body != `{"orders":[]}` {
		t.Errorf("bob's orders: %s", got.body)
	}
	for _, r := range []reply{
		w.call(http.MethodGet, path, "bob", ""), w.call(http.MethodPost, path+"/payment", "bob", ""), w.call(http.MethodPost, path+"/cancellation", "bob", ""),
	} {
		if r.status != 404 || r.code() != "unknown_order" {
			t.Errorf("somebody else's order: %d %s", r.status, r.body)
		}
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	edit := func(from, to string) string { return strings.Replace(one, from, to, 1) }
	tests := []struct {
		name, method, path, user, body string
		status                         int
		code                           string
	}{
		{"no user", "POST", "/v1/orders", "", one, 400, "invalid_user"},
		{"bad user", "POST", "/v1/orders", "a n n", one, 400, "invalid_user"},
		{"no key", "POST", "/v1/orders", "ann", edit(`"k"`, `""`), 400, "missing_idempotency_key"},
		{"bad key", "POST", "/v1/orders", "ann", edit(`"k"`, `"a b"`), 400, "invalid_idempotency_key"},
		{"long key", "POST", "/v1/orders", "ann", edit(`"k"`, `"`+strings.Repeat("k", 256)+`"`), 400, "invalid_idempotency_key"},
		{"no lines", "POST", "/v1/orders", "ann", `{"idempotency_key":"k","items":[]}`, 400, "invalid_lines"},
		{"zero", "POST", "/v1/orders", "ann", edit("2", "0"), 400, "invalid_lines"},
		{"fraction", "POST", "/v1/orders", "ann", edit("2", "1.5"), 400, "invalid_type"},
		{"unknown field", "POST", "/v1/orders", "ann", edit(`"items"`, `"price":1,"items"`), 400, "unknown_field"},
		{"strategy without the lab", "POST", "/v1/orders", "ann", edit(`"items"`, `"strategy":"x","items"`), 403, "strategy_not_allowed"},
		{"flow without the lab", "POST", "/v1/orders", "ann", edit(`"items"`, `"flow":"tx-message","items"`), 403, "flow_not_allowed"},
		{"no such order", "GET", "/v1/orders/NOPE", "ann", "", 404, "unknown_order"},
		{"what cannot be an order", "GET", "/v1/orders/%C3%A4", "ann", "", 404, "unknown_order"},
		{"bad cursor", "GET", "/v1/orders?cursor=%C3%A4", "ann", "", 400, "invalid_parameter"},
		{"bad limit", "GET", "/v1/orders?limit=0", "ann", "", 400, "invalid_parameter"},
		{"a buyer audits", "GET", "/v1/audit", "ann", "", 403, "forbidden"},
		{"a buyer requests an audit", "POST", "/v1/audits", "ann", "{}", 403, "forbidden"},
		{"a buyer reads an audit", "GET", "/v1/audits/ENDED", "ann", "", 403, "forbidden"},
		{"an unknown audit", "GET", "/v1/audits/OTHER", "root", "", 404, "unknown_audit"},
	}
	for _, tt := range tests {
		if r := w.call(tt.method, tt.path, tt.user, tt.body); r.status != tt.status || r.code() != tt.code {
			t.Errorf("%s: %d %s, want %d %s", tt.name, r.status, r.body, tt.status, tt.code)
		}
	}
	if r := w.call(http.MethodGet, "/v1/audit", "root", ""); r.status != 200 || !strings.Contains(r.body, `"unsent":7`) {
		t.Errorf("audit: %d %s", r.status, r.body)
	}
	if r := w.call(http.MethodPost, "/v1/audits", "root", `{"full":true}`); r.status != 202 || r.header.Get("Location") != "/v1/audits/ENDED" || !strings.Contains(r.body, `"full":true`) {
		t.Errorf("request an audit: %d %s, header %v", r.status, r.body, r.header)
	}
	if r := w.call(http.MethodGet, "/v1/audits/ENDED", "root", ""); r.status != 200 || !strings.Contains(r.body, `"state":"done","full":false`) {
		t.Errorf("an audit: %d %s", r.status, r.body)
	}
	all, err := w.store.After(t.Context(), "", 10)
	if err != nil || len(all) != 0 {
		t.Errorf("%d orders, error %v; want none", len(all), err)
	}
}
