package walletapi_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/order-srv/walletapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/rest/resttest"
)

// client returns a client of the service.
func client(t *testing.T, s *resttest.Service) *walletapi.Client {
	t.Helper()
	return walletapi.NewClient(s.Client(t, "wallet"))
}

// TestClient_requests has order numbers and users stay one part of the path, whatever they contain: a user "x/credits"
// must not name another route.
func TestClient_requests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		call func(ctx context.Context, c *walletapi.Client) error
		want string
	}{
		"freeze": {func(ctx context.Context, c *walletapi.Client) error {
			return c.Freeze(ctx, walletapi.FreezeRequest{OrderNo: "1", UserID: "ann", AmountCents: 5})
		}, `POST /v1/freezes {"order_no":"1","user_id":"ann","amount_cents":5}`},
		"confirm": {
			func(ctx context.Context, c *walletapi.Client) error { return c.Confirm(ctx, "../1") },
			`POST /v1/freezes/..%2F1/confirmation `,
		},
		"cancel": {func(ctx context.Context, c *walletapi.Client) error {
			return c.Cancel(ctx, "1?2", walletapi.CancelRequest{UserID: "ann"})
		}, `POST /v1/freezes/1%3F2/cancellation {"user_id":"ann","amount_cents":0}`},
		"refund": {
			func(ctx context.Context, c *walletapi.Client) error { return c.Refund(ctx, "1#2") },
			`POST /v1/freezes/1%232/refund `,
		},
		"frozen": {
			func(ctx context.Context, c *walletapi.Client) error { _, err := c.Frozen(ctx, "a&b", 7); return err },
			`GET /v1/freezes?after=a%26b&limit=7 `,
		},
		"wallet": {
			func(ctx context.Context, c *walletapi.Client) error { _, err := c.Wallet(ctx, "x/credits"); return err },
			`GET /v1/wallets/x%2Fcredits `,
		},
		"entries": {
			func(ctx context.Context, c *walletapi.Client) error {
				_, err := c.Entries(ctx, "a b", "9+", 3)
				return err
			},
			`GET /v1/wallets/a%20b/entries?cursor=9%2B&limit=3 `,
		},
		"credit": {func(ctx context.Context, c *walletapi.Client) error {
			_, err := c.Credit(ctx, "a%", walletapi.CreditRequest{AmountCents: 1, Reference: "r"})
			return err
		}, `POST /v1/wallets/a%25/credits {"amount_cents":1,"reference":"r"}`},
		"balances": {
			func(ctx context.Context, c *walletapi.Client) error { _, err := c.Balances(ctx, "", 2); return err },
			`GET /v1/audit?after=&limit=2 `,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &resttest.Service{Status: http.StatusOK, Body: "{}"}
			if err := c.call(t.Context(), client(t, w)); err != nil || w.Request() != c.want {
				t.Errorf("sent %q, %v; want %q", w.Request(), err, c.want)
			}
		})
	}
}

// TestClient_States has the freezes by order number. An order that the wallet does not know is in no answer.
func TestClient_States(t *testing.T) {
	t.Parallel()
	w := &resttest.Service{Status: http.StatusOK, Body: `{"freezes":[{"order_no":"2","user_id":"ann","amount_cents":7,"state":"confirmed","refunded":true},
		{"order_no":"1","user_id":"bob","amount_cents":5,"state":"void"}]}`}
	got, err := client(t, w).States(t.Context(), []string{"1", "2", "3"})
	want := map[string]walletapi.Freeze{
		"1": {OrderNo: "1", UserID: "bob", AmountCents: 5, State: walletapi.StateVoid},
		"2": {OrderNo: "2", UserID: "ann", AmountCents: 7, State: walletapi.StateConfirmed, Refunded: true},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	if want := `POST /v1/freezes/states {"order_nos":["1","2","3"]}`; w.Request() != want {
		t.Errorf("sent %q, want %q", w.Request(), want)
	}
}

// TestClient_refusals has a refusal of the wallet match its sentinel, and an answer that says nothing be ambiguous: the
// money may be frozen.
func TestClient_refusals(t *testing.T) {
	t.Parallel()
	for code, c := range map[string]struct {
		status int
		kind   string
		want   error
	}{
		"insufficient_funds": {http.StatusConflict, "conflict", walletapi.ErrInsufficientFunds},
		"freeze_closed":      {http.StatusConflict, "closed", walletapi.ErrFreezeClosed},
		"freeze_mismatch":    {http.StatusUnprocessableEntity, "mismatch", walletapi.ErrFreezeMismatch},
		"unknown_freeze":     {http.StatusNotFound, "not_found", walletapi.ErrUnknownFreeze},
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			w := &resttest.Service{Status: c.status, Body: `{"code":"` + code + `","kind":"` + c.kind + `","ambiguous":false}`}
			err := client(t, w).Freeze(t.Context(), walletapi.FreezeRequest{OrderNo: "1"})
			if !errors.Is(err, c.want) || fault.Ambiguous(err) {
				t.Errorf("got %v (ambiguous %v), want %v", err, fault.Ambiguous(err), c.want)
			}
		})
	}
	for name, w := range map[string]*resttest.Service{
		"a proxy's page":  {Status: http.StatusBadGateway, Body: "<html>"},
		"half an answer":  {Status: http.StatusOK, Body: `{"user_id":"ann","available_`},
		"another answer":  {Status: http.StatusOK, Body: `[]`},
		"a server's bug":  {Status: http.StatusInternalServerError, Body: `{"code":"internal","kind":"internal","ambiguous":true}`},
		"no such problem": {Status: http.StatusConflict, Body: `{"ambiguous":false}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := client(t, w).Credit(t.Context(), "ann", walletapi.CreditRequest{AmountCents: 1, Reference: "r"})
			if !fault.Ambiguous(err) {
				t.Errorf("got %+v, %v; want an ambiguous fault: the money may have been credited", got, err)
			}
		})
	}
}
