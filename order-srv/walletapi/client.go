package walletapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"holdfast/pkg/rest"
)

// Client calls the wallet. Its errors are faults: the wallet's own, rebuilt, or wallet_unavailable and wallet_timeout,
// which are ambiguous unless nothing was sent.
type Client struct{ rest *rest.Client }

// NewClient makes a client on r.
func NewClient(r *rest.Client) *Client { return &Client{rest: r} }

// Freeze sets money aside for an order. ErrInsufficientFunds, ErrFreezeClosed after a cancellation, ErrFreezeMismatch.
// A repeat changes nothing.
func (c *Client) Freeze(ctx context.Context, r FreezeRequest) error {
	return c.rest.Do(ctx, http.MethodPost, "/v1/freezes", r, nil)
}

// Confirm pays the money that is frozen for an order. ErrFreezeClosed after a cancellation, ErrUnknownFreeze when it
// was never frozen. A repeat changes nothing.
func (c *Client) Confirm(ctx context.Context, orderNo string) error {
	return c.rest.Do(ctx, http.MethodPost, freezePath(orderNo, "confirmation"), nil, nil)
}

// Cancel returns the money that is frozen for an order, or writes its tombstone. ErrFreezeConfirmed when it was paid. A
// repeat changes nothing.
func (c *Client) Cancel(ctx context.Context, orderNo string, r CancelRequest) error {
	return c.rest.Do(ctx, http.MethodPost, freezePath(orderNo, "cancellation"), r, nil)
}

// Refund returns the payment of an order, by an entry. ErrFreezeUnpaid when it was not paid, ErrUnknownFreeze. A repeat
// changes nothing.
func (c *Client) Refund(ctx context.Context, orderNo string) error {
	return c.rest.Do(ctx, http.MethodPost, freezePath(orderNo, "refund"), nil, nil)
}

func freezePath(orderNo, what string) string {
	return "/v1/freezes/" + url.PathEscape(orderNo) + "/" + what
}

// States returns the freezes of those of the orders that the wallet knows, by order number.
func (c *Client) States(ctx context.Context, orderNos []string) (map[string]Freeze, error) {
	var out StatesResponse
	if err := c.rest.Do(ctx, http.MethodPost, "/v1/freezes/states", StatesRequest{OrderNos: orderNos}, &out); err != nil {
		return nil, err
	}
	found := make(map[string]Freeze, len(out.Freezes))
	for _, f := range out.Freezes {
		found[f.OrderNo] = f
	}
	return found, nil
}

// Frozen returns a page of the freezes in state frozen, after an order number.
func (c *Client) Frozen(ctx context.Context, after string, limit int) (FreezePage, error) {
	var out FreezePage
	q := url.Values{"after": {after}, "limit": {strconv.Itoa(limit)}}
	err := c.rest.Do(ctx, http.MethodGet, "/v1/freezes?"+q.Encode(), nil, &out)
	return out, err
}

// Wallet returns the balance of a user. A user without a wallet has nothing.
func (c *Client) Wallet(ctx context.Context, userID string) (Wallet, error) {
	var out Wallet
	err := c.rest.Do(ctx, http.MethodGet, "/v1/wallets/"+url.PathEscape(userID), nil, &out)
	return out, err
}

// Entries returns a page of a user's entries, newest first.
func (c *Client) Entries(ctx context.Context, userID, cursor string, limit int) (EntryPage, error) {
	var out EntryPage
	q := url.Values{"cursor": {cursor}, "limit": {strconv.Itoa(limit)}}
	err := c.rest.Do(ctx, http.MethodGet, "/v1/wallets/"+url.PathEscape(userID)+"/entries?"+q.Encode(), nil, &out)
	return out, err
}

// Credit adds money to a wallet, once for each reference, and returns the balance. ErrInvalidCredit, ErrCreditMismatch.
func (c *Client) Credit(ctx context.Context, userID string, r CreditRequest) (Wallet, error) {
	var out Wallet
	err := c.rest.Do(ctx, http.MethodPost, "/v1/wallets/"+url.PathEscape(userID)+"/credits", r, &out)
	return out, err
}

// Balances returns a page of wallets with the sums that they must agree with, after a user.
func (c *Client) Balances(ctx context.Context, after string, limit int) (BalancePage, error) {
	var out BalancePage
	q := url.Values{"after": {after}, "limit": {strconv.Itoa(limit)}}
	err := c.rest.Do(ctx, http.MethodGet, "/v1/audit?"+q.Encode(), nil, &out)
	return out, err
}
