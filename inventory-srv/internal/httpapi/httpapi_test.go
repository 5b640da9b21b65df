package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/inventory-srv/internal/app"
	"holdfast/inventory-srv/internal/httpapi"
	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/lock"
	"holdfast/pkg/rest"
	"holdfast/pkg/web"
	"holdfast/sql"
)

// service is the API on real servers, and a client of it.
type service struct {
	*inventoryapi.Client
	url string
}

func newService(t *testing.T, lab bool) service {
	t.Helper()
	return newServiceOf(t, strategy.Default, lab, nil)
}

func newServiceOf(t *testing.T, def string, lab bool, registry prometheus.Registerer) service {
	t.Helper()
	return newServiceOn(t, dbtest.New(t, sql.Inventory()), def, lab, registry)
}

// newServiceOn is newServiceOf on a database whose schema is up to date.
func newServiceOn(t *testing.T, db *gorm.DB, def string, lab bool, registry prometheus.Registerer) service {
	t.Helper()
	log, name := slog.New(slog.DiscardHandler), fmt.Sprintf("httpapi-%d", rand.Uint64())
	inventory, err := app.Open(t.Context(), app.Config{
		Log: log, Registry: registry, DB: db, RedisAddrs: []string{stacktest.Redis(t)},
		LockOptions: []lock.Option{lock.WithPrefix(name + ":")}, Redis: redisstock.Config{Prefix: "{" + name + "}:"}, Strategy: def, Lab: lab,
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := inventory.Stock.RunInBackground(context.Background())
	t.Cleanup(func() { _ = inventory.Close() })
	t.Cleanup(stop)
	server := httptest.NewServer(inventory.Handler(httpapi.Config{Engine: web.EngineConfig{Log: log, Timeout: 30 * time.Second}}))
	t.Cleanup(server.Close)
	client, err := rest.New(rest.Config{URLs: []string{server.URL}, Timeout: 30 * time.Second, Name: "inventory-srv", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return service{inventoryapi.NewClient(client), server.URL}
}

// has puts units of a new SKU into the shop.
func (s service) has(t *testing.T, sku string, units int64) {
	t.Helper()
	p := inventoryapi.CreateProductRequest{SKU: sku, Title: "Title of " + sku, PriceCents: 250}
	if _, err := s.CreateProduct(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	in := inventoryapi.InboundRequest{Quantity: units, Reference: "first-" + sku, Reason: "test", Actor: "test"}
	if _, err := s.Inbound(t.Context(), sku, in); err != nil {
		t.Fatal(err)
	}
}

func order(no, sku string, quantity int64) inventoryapi.ReserveOrder {
	return inventoryapi.ReserveOrder{OrderNo: no, Lines: []inventoryapi.Line{{SKU: sku, Quantity: quantity}}}
}

func TestAPI_Reservations(t *testing.T) {
	t.Parallel()
	s := newService(t, false)
	s.has(t, "A", 10)
	ctx := t.Context()

	results, err := s.Reserve(ctx, []inventoryapi.ReserveOrder{
		order("FITS", "A", 4), order("TOO-MANY", "A", 11), order("UNKNOWN", "NOTHING", 1), order("ZERO", "A", 0), order("", "A", 1),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &inventoryapi.Receipt{
		OrderNo: "FITS", Strategy: "redis-lock", AmountCents: 1000,
		Lines: []inventoryapi.ReceiptLine{{SKU: "A", Title: "Title of A", Quantity: 4, UnitPriceCents: 250}},
	}
	if diff := cmp.Diff(want, results[0].Receipt); diff != "" {
		t.Errorf("the receipt (-want +got):\n%s", diff)
	}
	for i, want := range map[int]error{
		1: inventoryapi.ErrOutOfStock, 2: inventoryapi.ErrUnknownSKU, 3: inventoryapi.ErrInvalidLines, 4: stock.ErrInvalidOrderNo,
	} {
		p := results[i].Problem
		if p == nil || !errors.Is(p.Fault(), want) || p.Ambiguous || p.Status == 0 || p.RequestID == "" {
			t.Errorf("result %d: %+v, want %v", i, p, want)
		}
	}

	for range 2 {
		if err := s.Confirm(ctx, "FITS"); err != nil {
			t.Errorf("confirm: %v", err)
		}
	}
	if err := s.Release(ctx, "FITS"); !errors.Is(err, inventoryapi.ErrConfirmed) {
		t.Errorf("release of a confirmed order: %v", err)
	}
	if err := s.Confirm(ctx, "NEVER"); !errors.Is(err, inventoryapi.ErrUnknownOrder) {
		t.Errorf("confirm of an unknown order: %v", err)
	}
	if err := s.Release(ctx, "NEVER"); err != nil {
		t.Errorf("release of an unknown order: %v", err)
	}
	if results, err = s.Reserve(ctx, []inventoryapi.ReserveOrder{order("NEVER", "A", 1)}); err != nil || !errors.Is(results[0].Problem.Fault(), inventoryapi.ErrClosed) {
		t.Errorf("reserve behind the tombstone: %+v, %v", results, err)
	}
	states, err := s.States(ctx, []string{"FITS", "NEVER", "TOO-MANY"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"FITS": inventoryapi.StateConfirmed, "NEVER": inventoryapi.StateVoid}, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	s.wantEntry(t, inventoryapi.LedgerEntry{SKU: "A", Layout: "row", Inbound: 10, Available: 6, Sold: 4, LinesConfirmed: 4})
}

func (s service) wantEntry(t *testing.T, want inventoryapi.LedgerEntry) {
	t.Helper()
	ledger, err := s.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]inventoryapi.LedgerEntry{want}, ledger.SKUs); diff != "" {
		t.Errorf("the ledger (-want +got):\n%s", diff)
	}
}

// TestAPI_ReserveMany sends one call with as many orders as it may have, more of them than there is stock for.
func TestAPI_ReserveMany(t *testing.T) {
	t.Parallel()
	const units = 700
	s := newService(t, true)
	s.has(t, "A", units)
	orders := make([]inventoryapi.ReserveOrder, inventoryapi.MaxOrdersPerCall)
	for i := range orders {
		orders[i] = order(fmt.Sprintf("ORDER-%d", i), "A", 1)
		orders[i].Strategy = "for-update"
	}
	results, err := s.Reserve(t.Context(), orders)
	if err != nil {
		t.Fatal(err)
	}
	var sold int64
	for i, r := range results {
		switch {
		case r.OrderNo != orders[i].OrderNo:
			t.Fatalf("result %d is that of %s", i, r.OrderNo)
		case r.Receipt != nil:
			sold++
		case !errors.Is(r.Problem.Fault(), inventoryapi.ErrOutOfStock):
			t.Errorf("%s: %+v", r.OrderNo, r.Problem)
		}
	}
	if sold != units {
		t.Errorf("sold %d of %d", sold, units)
	}
	s.wantEntry(t, inventoryapi.LedgerEntry{SKU: "A", Layout: "row", Inbound: units, Reserved: units, LinesReserved: units})
	if _, err := s.Reserve(t.Context(), append(orders, order("ONE-MORE", "A", 1))); fault.From(err).Code != "invalid_orders" {
		t.Errorf("1001 orders: %v", err)
	}

	var seen int
	for after := ""; ; {
		page, err := s.Reservations(t.Context(), after, 300)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(page.Reservations)
		if after = page.After; after == "" {
			break
		}
	}
	if seen != units {
		t.Errorf("the pages list %d reservations, want %d", seen, units)
	}
}

func TestAPI_Strategies(t *testing.T) {
	t.Parallel()
	for _, lab := range []bool{false, true} {
		s := newService(t, lab)
		s.has(t, "A", 10)
		got, err := s.Strategies(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got.Default != "redis-lock" || got.Lab != lab || len(got.Strategies) != len(strategy.List()) {
			t.Errorf("%+v", got)
		}
		o := order("ORDER", "A", 1)
		o.Strategy = "for-update"
		results, err := s.Reserve(t.Context(), []inventoryapi.ReserveOrder{o})
		if err != nil {
			t.Fatal(err)
		}
		if reserved := results[0].Receipt != nil; reserved != lab {
			t.Errorf("lab %v: an order that names a strategy got %+v", lab, results[0])
		}
		if p := results[0].Problem; p != nil && (p.Code != "unknown_strategy" || p.Ambiguous) {
			t.Errorf("the refusal: %+v", p)
		}
	}
}

func TestAPI_Catalogue(t *testing.T) {
	t.Parallel()
	s := newService(t, false)
	ctx := t.Context()
	for _, sku := range []string{"C", "A", "B"} {
		s.has(t, sku, 5)
		s.has(t, sku, 5) // the same again changes nothing
	}
	first, err := s.Products(ctx, "", 2)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Products(ctx, first.NextCursor, 2)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(sku string) inventoryapi.Product {
		return inventoryapi.Product{SKU: sku, Title: "Title of " + sku, PriceCents: 250, Available: 5, Layout: "row"}
	}
	want := []inventoryapi.ProductPage{
		{Products: []inventoryapi.Product{entry("A"), entry("B")}, NextCursor: "B"},
		{Products: []inventoryapi.Product{entry("C")}},
	}
	if diff := cmp.Diff(want, []inventoryapi.ProductPage{first, second}); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
	moved, err := s.SetLayout(ctx, "B", inventoryapi.LayoutRequest{Layout: "buckets", Buckets: 4})
	if err != nil || moved.Layout != "buckets" || moved.Available != 5 {
		t.Errorf("B in buckets: %+v, error %v", moved, err)
	}
	if _, err := s.SetLayout(ctx, "B", inventoryapi.LayoutRequest{Layout: "heap"}); !errors.Is(err, inventoryapi.ErrInvalidLayout) {
		t.Errorf("an unknown layout: %v", err)
	}
	results, err := s.Reserve(ctx, []inventoryapi.ReserveOrder{order("ELSEWHERE", "B", 1)})
	if err != nil || results[0].Problem == nil || results[0].Problem.Code != "wrong_layout" || results[0].Problem.Status != http.StatusConflict {
		t.Errorf("a strategy of the row on buckets: %+v, error %v", results, err)
	}
	if _, err := s.Product(ctx, "NOTHING"); !errors.Is(err, inventoryapi.ErrUnknownSKU) {
		t.Errorf("an unknown product: %v", err)
	}
	if _, err := s.CreateProduct(ctx, inventoryapi.CreateProductRequest{SKU: "A", Title: "Other"}); !errors.Is(err, stock.ErrSKUExists) {
		t.Errorf("another product of a known SKU: %v", err)
	}
	in := inventoryapi.InboundRequest{Quantity: 6, Reference: "first-A", Reason: "test", Actor: "test"}
	if _, err := s.Inbound(ctx, "A", in); !errors.Is(err, stock.ErrReferenceMismatch) {
		t.Errorf("another delivery with a known reference: %v", err)
	}
}

// TestAPI_Lab: in lab mode an order may name a strategy that loses updates, for products that are there to be harmed.
func TestAPI_Lab(t *testing.T) {
	t.Parallel()
	s := newService(t, true)
	s.has(t, "REAL", 5)
	lab := inventoryapi.CreateProductRequest{SKU: "LAB", Title: "For the lab", PriceCents: 250, Lab: true}
	if p, err := s.CreateProduct(t.Context(), lab); err != nil || !p.Lab {
		t.Fatalf("%+v, error %v", p, err)
	}
	in := inventoryapi.InboundRequest{Quantity: 5, Reference: "first-LAB", Reason: "test", Actor: "test"}
	if p, err := s.Inbound(t.Context(), "LAB", in); err != nil || !p.Lab {
		t.Fatalf("%+v, error %v", p, err)
	}
	ours, theirs := order("OURS", "LAB", 1), order("REAL", "REAL", 1)
	ours.Strategy, theirs.Strategy = "naive", "naive"
	results, err := s.Reserve(t.Context(), []inventoryapi.ReserveOrder{ours, theirs})
	if err != nil {
		t.Fatal(err)
	}
	if r := results[0].Receipt; r == nil || r.Strategy != "naive" {
		t.Errorf("naive on a product of the lab: %+v", results[0])
	}
	if p := results[1].Problem; p == nil || p.Code != "lab_only" || p.Status != http.StatusConflict || p.Ambiguous {
		t.Errorf("naive on real stock: %+v", p)
	}
	page, err := s.Reservations(t.Context(), "", 10)
	if err != nil || len(page.Reservations) != 1 || page.Reservations[0].Strategy != "naive" {
		t.Errorf("the ledger: %+v, error %v", page, err)
	}
}

// TestAPI_BadRequests: each is refused with its code, and nothing it says is ambiguous.
func TestAPI_BadRequests(t *testing.T) {
	t.Parallel()
	s := newService(t, false)
	cases := []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", "/v1/reservations", `{"orders":[]}`, 400, "invalid_orders"},
		{"POST", "/v1/reservations", `{"orders":[{"order_no":"A","lines":[{"sku":"A","quantity":1.5}]}]}`, 400, "invalid_type"},
		{"POST", "/v1/reservations", `{"orders":[{"order_no":"A","amount":1}]}`, 400, "unknown_field"},
		{"POST", "/v1/reservations", ``, 400, "invalid_json"},
		{"POST", "/v1/reservations/A%20B/confirmation", ``, 400, "invalid_order_no"},
		{"POST", "/v1/reservations/123456789012345678901234567/release", ``, 400, "invalid_order_no"},
		{"POST", "/v1/reservations/states", `{"order_nos":["\u00e4"]}`, 400, "invalid_order_no"},
		{"POST", "/v1/reservations/states", `{"order_nos":[]}`, 400, "invalid_orders"},
		{"GET", "/v1/reservations?limit=0", ``, 400, "invalid_parameter"},
		{"GET", "/v1/products?limit=1001", ``, 400, "invalid_parameter"},
		{"POST", "/v1/products", `{"sku":"a","title":"T","price_cents":1}`, 400, "invalid_product"},
		{"POST", "/v1/products", `{"sku":"A","title":"T","price_cents":1,"lab":true}`, 403, "lab_not_allowed"},
		{"POST", "/v1/products/A/inbound", `{"quantity":0,"reference":"r"}`, 400, "invalid_inbound"},
		{"POST", "/v1/products/A/inbound", `{"quantity":1,"reference":"r"}`, 404, "unknown_sku"},
		{"GET", "/v1/nothing", ``, 404, "not_found"},
		{"DELETE", "/v1/products", ``, 405, "method_not_allowed"},
	}
	for _, c := range cases {
		status, p := s.send(t, c.method, c.path, c.body)
		if status != c.status || p.Code != c.code || p.Ambiguous {
			t.Errorf("%s %s %s: status %d, problem %+v; want %d, %s", c.method, c.path, c.body, status, p, c.status, c.code)
		}
	}
}

func (s service) send(t *testing.T, method, path, body string) (int, fault.Problem) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var p fault.Problem
	if err := json.NewDecoder(bytes.NewReader(answer)).Decode(&p); err != nil {
		t.Fatalf("%s %s: %d %s: %v", method, path, res.StatusCode, answer, err)
	}
	return res.StatusCode, p
}

// TestAPI_Deadline: orders whose turn never came are certainly not executed.
func TestAPI_Deadline(t *testing.T) {
	t.Parallel()
	s := newService(t, false)
	s.has(t, "A", 10)
	body := `{"orders":[{"order_no":"LATE","lines":[{"sku":"A","quantity":1}]}]}`
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, s.url+"/v1/reservations", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(header.Deadline, "0")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var p fault.Problem
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusGatewayTimeout || p.Ambiguous {
		t.Errorf("status %d, problem %+v", res.StatusCode, p)
	}
	s.wantEntry(t, inventoryapi.LedgerEntry{SKU: "A", Layout: "row", Inbound: 10, Available: 10})
}
