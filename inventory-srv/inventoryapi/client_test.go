package inventoryapi_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/rest/resttest"
)

// client returns a client of the service.
func client(t *testing.T, s *resttest.Service) *inventoryapi.Client {
	t.Helper()
	return inventoryapi.NewClient(s.Client(t, "inventory"))
}

// TestClient_requests has order numbers and SKUs stay one part of the path, whatever they contain.
func TestClient_requests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		call func(ctx context.Context, c *inventoryapi.Client) error
		want string
	}{
		"confirm": {
			func(ctx context.Context, c *inventoryapi.Client) error { return c.Confirm(ctx, "../1") },
			`POST /v1/reservations/..%2F1/confirmation `,
		},
		"release": {
			func(ctx context.Context, c *inventoryapi.Client) error { return c.Release(ctx, "1?") },
			`POST /v1/reservations/1%3F/release `,
		},
		"states": {
			func(ctx context.Context, c *inventoryapi.Client) error {
				_, err := c.States(ctx, []string{"1"})
				return err
			},
			`POST /v1/reservations/states {"order_nos":["1"]}`,
		},
		"page": {
			func(ctx context.Context, c *inventoryapi.Client) error {
				_, err := c.Reservations(ctx, "a&b", 7)
				return err
			},
			`GET /v1/reservations?after=a%26b&limit=7 `,
		},
		"range": {func(ctx context.Context, c *inventoryapi.Client) error {
			_, err := c.ReservationsOf(ctx, "1", "2", true, 7)
			return err
		}, `GET /v1/reservations?after=1&answered=true&limit=7&to=2 `},
		"product": {
			func(ctx context.Context, c *inventoryapi.Client) error {
				_, err := c.Product(ctx, "A/inbound")
				return err
			},
			`GET /v1/products/A%2Finbound `,
		},
		"inbound": {func(ctx context.Context, c *inventoryapi.Client) error {
			_, err := c.Inbound(ctx, "A#", inventoryapi.InboundRequest{Quantity: 1, Reference: "r", Reason: "s", Actor: "t"})
			return err
		}, `POST /v1/products/A%23/inbound {"quantity":1,"reference":"r","reason":"s","actor":"t"}`},
		"layout": {func(ctx context.Context, c *inventoryapi.Client) error {
			_, err := c.SetLayout(ctx, "A", inventoryapi.LayoutRequest{Layout: "units"})
			return err
		}, `PUT /v1/products/A/layout {"layout":"units"}`},
		"roll-up": {func(ctx context.Context, c *inventoryapi.Client) error {
			_, err := c.RollUp(ctx, inventoryapi.RollUpRequest{To: "1"})
			return err
		}, `POST /v1/audit/rollup {"to":"1"}`},
		"archive": {
			func(ctx context.Context, c *inventoryapi.Client) error { _, err := c.Archive(ctx, "1"); return err },
			`POST /v1/reservations/archive {"to":"1"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &resttest.Service{Status: http.StatusOK, Body: "{}"}
			if err := c.call(t.Context(), client(t, s)); err != nil || s.Request() != c.want {
				t.Errorf("sent %q, %v; want %q", s.Request(), err, c.want)
			}
		})
	}
}

// TestClient_Reserve has a result for each order, in the order of the request. With any other number of results it is
// not known which orders they are for, so the stock may be taken.
func TestClient_Reserve(t *testing.T) {
	t.Parallel()
	body, err := response(2).AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &resttest.Service{Status: http.StatusOK, Body: string(body)}
	c := client(t, s)
	got, err := c.Reserve(t.Context(), request(2).Orders)
	if diff := cmp.Diff(response(2).Results, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	for _, orders := range []int{1, 3} {
		if got, err := c.Reserve(t.Context(), request(orders).Orders); err == nil || !fault.Ambiguous(err) {
			t.Errorf("two results for %d orders: got %v, %v; want an ambiguous error", orders, got, err)
		}
	}
}

// TestClient_refusals has a refusal of inventory match its sentinel, and an answer that says nothing be ambiguous.
func TestClient_refusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		want   error // nil: ambiguous
	}{
		"unknown order":  {http.StatusNotFound, `{"code":"unknown_order","kind":"not_found","ambiguous":false}`, inventoryapi.ErrUnknownOrder},
		"lost by Redis":  {http.StatusNotFound, `{"code":"stock_lost","kind":"not_found","ambiguous":false}`, inventoryapi.ErrStockLost},
		"released":       {http.StatusConflict, `{"code":"closed","kind":"closed","ambiguous":false}`, inventoryapi.ErrClosed},
		"a proxy's page": {http.StatusBadGateway, `<html>`, nil},
		"a server's bug": {http.StatusInternalServerError, `{"code":"internal","kind":"internal","ambiguous":true}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &resttest.Service{Status: c.status, Body: c.body}
			err := client(t, s).Confirm(t.Context(), "1")
			if fault.Ambiguous(err) != (c.want == nil) || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v (ambiguous %v), want %v", err, fault.Ambiguous(err), c.want)
			}
		})
	}
}

func TestShortLines(t *testing.T) {
	t.Parallel()
	short := []inventoryapi.ShortLine{{SKU: "A", Requested: 2, Available: 0}, {SKU: "B", Requested: 9, Available: 3, Lab: true}}
	crossed := fault.ToProblem(inventoryapi.OutOfStock(short))
	if diff := cmp.Diff(short, inventoryapi.ShortLines(crossed.Fault())); diff != "" {
		t.Errorf("the short lines (-want +got):\n%s", diff)
	}
	for name, err := range map[string]error{
		"nothing":              nil,
		"another fault":        inventoryapi.ErrUnknownOrder.With("short", short),
		"no lines":             inventoryapi.ErrOutOfStock,
		"not lines":            inventoryapi.ErrOutOfStock.With("short", "A"),
		"an unknown number":    inventoryapi.ErrOutOfStock.With("short", []map[string]any{{"sku": "A", "requested": 2}}),
		"what cannot be coded": inventoryapi.ErrOutOfStock.With("short", make(chan int)),
	} {
		if got := inventoryapi.ShortLines(err); len(got) > 0 {
			t.Errorf("%s: got %v, want none", name, got)
		}
	}
}
