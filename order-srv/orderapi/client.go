package orderapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"holdfast/pkg/header"
	"holdfast/pkg/rest"
)

// Client speaks to order-srv on behalf of users.
type Client struct{ rest *rest.Client }

// NewClient makes a client on r.
func NewClient(r *rest.Client) *Client { return &Client{rest: r} }

// As returns the calls that are made on behalf of one user.
func (c *Client) As(userID, role string) *Session {
	return &Session{rest: c.rest.With(rest.Header(header.UserID, userID), rest.Header(header.UserRole, role))}
}

// Session is a client with an identity.
type Session struct{ rest *rest.Client }

// Place orders. placed is false while the order is still pending (202): ask Get until it is not. Errors are faults:
// inventory's refusals, ErrIdempotency, ErrBrokerUnavailable and the like.
func (s *Session) Place(ctx context.Context, r PlaceRequest) (o Order, placed bool, err error) {
	err = s.rest.Do(ctx, http.MethodPost, "/v1/orders", r, &o)
	return o, o.Status != StatusPending, err
}

// Get returns one of the user's own orders, or ErrNotFound.
func (s *Session) Get(ctx context.Context, orderNo string) (Order, error) {
	var o Order
	err := s.rest.Do(ctx, http.MethodGet, "/v1/orders/"+url.PathEscape(orderNo), nil, &o)
	return o, err
}

// List returns a page of the user's own orders, newest first.
func (s *Session) List(ctx context.Context, cursor string, limit int) (OrderPage, error) {
	var p OrderPage
	q := url.Values{"cursor": {cursor}, "limit": {strconv.Itoa(limit)}}
	err := s.rest.Do(ctx, http.MethodGet, "/v1/orders?"+q.Encode(), nil, &p)
	return p, err
}

// Pay pays a placed order; paying a paid one again changes nothing. ErrNotPayable after its end.
func (s *Session) Pay(ctx context.Context, orderNo string) (Order, error) {
	var o Order
	err := s.rest.Do(ctx, http.MethodPost, "/v1/orders/"+url.PathEscape(orderNo)+"/payment", nil, &o)
	return o, err
}

// Cancel cancels a placed order; cancelling a cancelled one again changes nothing. ErrNotCancellable otherwise.
func (s *Session) Cancel(ctx context.Context, orderNo string) (Order, error) {
	var o Order
	err := s.rest.Do(ctx, http.MethodPost, "/v1/orders/"+url.PathEscape(orderNo)+"/cancellation", nil, &o)
	return o, err
}

// Audit joins and checks both ledgers. Admins only.
func (s *Session) Audit(ctx context.Context) (Audit, error) {
	var a Audit
	err := s.rest.Do(ctx, http.MethodGet, "/v1/audit", nil, &a)
	return a, err
}
