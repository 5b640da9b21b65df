package gateway_test

import (
	"testing"

	"holdfast/order-srv/walletapi"
)

// TestWallet reads one's own wallet: whose it is comes from the token.
func TestWallet(t *testing.T) {
	t.Parallel()
	balance := walletapi.Wallet{UserID: "ann", AvailableCents: 700, FrozenCents: 300}
	entries := walletapi.EntryPage{Entries: []walletapi.Entry{{ID: 7, Kind: walletapi.KindOpening, AmountCents: 1000, Reference: "opening:ann"}}, NextCursor: "7"}
	d := open(t, options{wallet: map[string]any{
		"GET /v1/wallets/ann": balance, "GET /v1/wallets/ann/entries?cursor=9&limit=1": entries,
	}}, nil, nil)
	wantBody(t, d.do("GET", "/v1/wallet?user=bob", "", d.token("ann", "buyer"), "X-User-ID: bob"), 200, balance)
	wantBody(t, d.do("GET", "/v1/wallet/entries?cursor=9&limit=1", "", d.token("ann", "buyer")), 200, entries)
	if p := d.problem(d.do("GET", "/v1/wallet/entries?limit=0", "", d.token("ann", "buyer"))); p.Code != "invalid_parameter" {
		t.Errorf("a page of nothing: %+v", p)
	}
}

func TestWallet_credit(t *testing.T) {
	t.Parallel()
	balance := walletapi.Wallet{UserID: "ben", AvailableCents: 500}
	d := open(t, options{wallet: map[string]any{"POST /v1/wallets/ben/credits": balance}}, nil, nil)
	const body = `{"amount_cents":500,"reference":"voucher"}`
	wantBody(t, d.do("POST", "/v1/admin/wallets/ben/credits", body, d.token("root", "admin")), 200, balance)
	if calls := d.wallet.seen(); len(calls) != 1 || calls[0].body != body {
		t.Errorf("the wallet was asked %+v", calls)
	}
}

// TestWallet_refused: what is not allowed never reaches the wallet.
func TestWallet_refused(t *testing.T) {
	t.Parallel()
	d := open(t, options{}, nil, nil)
	for _, tt := range []struct{ method, path, body, role, code string }{
		{"GET", "/v1/wallet", "", "", "unauthenticated"},
		{"GET", "/v1/wallet/entries", "", "", "unauthenticated"},
		{"POST", "/v1/admin/wallets/ben/credits", `{}`, "", "unauthenticated"},
		{"POST", "/v1/admin/wallets/ben/credits", `{}`, "buyer", "forbidden"},
		{"POST", "/v1/admin/wallets/a%2Fb/credits", `{}`, "admin", "invalid_user"},
		{"POST", "/v1/admin/wallets/ben/credits", `{"amount":1}`, "admin", "unknown_field"},
	} {
		var headers []string
		if tt.role != "" {
			headers = append(headers, d.token("ann", tt.role))
		}
		if p := d.problem(d.do(tt.method, tt.path, tt.body, headers...)); p.Code != tt.code {
			t.Errorf("%s %s as %q: %s, want %s", tt.method, tt.path, tt.role, p.Code, tt.code)
		}
	}
	d.wantUntouched()
}
