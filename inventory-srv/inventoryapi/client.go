package inventoryapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"holdfast/pkg/rest"
)

// Client calls inventory-srv. Its errors are faults: the service's own, rebuilt, or unavailable and ambiguous when
// there was no clear answer.
type Client struct{ rest *rest.Client }

// NewClient makes a client on r.
func NewClient(r *rest.Client) *Client { return &Client{rest: r} }

// Reserve asks for stock for each order. The error is about the call; each order's outcome is in its result.
func (c *Client) Reserve(ctx context.Context, orders []ReserveOrder) ([]ReserveResult, error) {
	var out ReserveResponse
	if err := c.rest.Do(ctx, http.MethodPost, "/v1/reservations", ReserveRequest{Orders: orders}, &out); err != nil {
		return nil, err
	}
	if len(out.Results) != len(orders) {
		return nil, fmt.Errorf("reserve: asked for %d orders, got %d results", len(orders), len(out.Results))
	}
	return out.Results, nil
}

// Confirm turns an order's reserved units into sold ones. ErrClosed when it was released, ErrUnknownOrder when absent,
// and ErrStockLost when Redis may have lost it.
func (c *Client) Confirm(ctx context.Context, orderNo string) error {
	return c.rest.Do(ctx, http.MethodPost, "/v1/reservations/"+url.PathEscape(orderNo)+"/confirmation", nil, nil)
}

// Release gives an order's units back or writes its tombstone. ErrConfirmed when it was confirmed.
func (c *Client) Release(ctx context.Context, orderNo string) error {
	return c.rest.Do(ctx, http.MethodPost, "/v1/reservations/"+url.PathEscape(orderNo)+"/release", nil, nil)
}

// States returns the reservation status of each known order.
func (c *Client) States(ctx context.Context, orderNos []string) (map[string]string, error) {
	var out StatesResponse
	err := c.rest.Do(ctx, http.MethodPost, "/v1/reservations/states", StatesRequest{OrderNos: orderNos}, &out)
	return out.States, err
}

// Reservations returns a page of reservations after the given order number.
func (c *Client) Reservations(ctx context.Context, after string, limit int) (ReservationPage, error) {
	var out ReservationPage
	q := url.Values{"after": {after}, "limit": {strconv.Itoa(limit)}}
	err := c.rest.Do(ctx, http.MethodGet, "/v1/reservations?"+q.Encode(), nil, &out)
	return out, err
}

// ReservationsOf returns a page of reservations after an order number, up to another ("": to the end), for a caller
// that has read the orders of this range: with answered, all that was answered about them before the call is on it.
func (c *Client) ReservationsOf(ctx context.Context, after, to string, answered bool, limit int) (ReservationPage, error) {
	var out ReservationPage
	q := url.Values{"after": {after}, "to": {to}, "answered": {strconv.FormatBool(answered)}, "limit": {strconv.Itoa(limit)}}
	err := c.rest.Do(ctx, http.MethodGet, "/v1/reservations?"+q.Encode(), nil, &out)
	return out, err
}

// Products returns a page of the catalogue.
func (c *Client) Products(ctx context.Context, cursor string, limit int) (ProductPage, error) {
	var out ProductPage
	q := url.Values{"cursor": {cursor}, "limit": {strconv.Itoa(limit)}}
	err := c.rest.Do(ctx, http.MethodGet, "/v1/products?"+q.Encode(), nil, &out)
	return out, err
}

// Product returns one catalogue entry, or ErrUnknownSKU.
func (c *Client) Product(ctx context.Context, sku string) (Product, error) {
	var out Product
	err := c.rest.Do(ctx, http.MethodGet, "/v1/products/"+url.PathEscape(sku), nil, &out)
	return out, err
}

// CreateProduct adds a product without stock.
func (c *Client) CreateProduct(ctx context.Context, p CreateProductRequest) (Product, error) {
	var out Product
	err := c.rest.Do(ctx, http.MethodPost, "/v1/products", p, &out)
	return out, err
}

// Inbound adds units to a product's stock, once for each reference.
func (c *Client) Inbound(ctx context.Context, sku string, in InboundRequest) (Product, error) {
	var out Product
	err := c.rest.Do(ctx, http.MethodPost, "/v1/products/"+url.PathEscape(sku)+"/inbound", in, &out)
	return out, err
}

// SetLayout stores a product's stock in another way.
func (c *Client) SetLayout(ctx context.Context, sku string, in LayoutRequest) (Product, error) {
	var out Product
	err := c.rest.Do(ctx, http.MethodPut, "/v1/products/"+url.PathEscape(sku)+"/layout", in, &out)
	return out, err
}

// Strategies lists what the service can do.
func (c *Client) Strategies(ctx context.Context) (Strategies, error) {
	var out Strategies
	err := c.rest.Do(ctx, http.MethodGet, "/v1/strategies", nil, &out)
	return out, err
}

// Audit returns the ledger. It takes up to AuditTime.
func (c *Client) Audit(ctx context.Context) (Ledger, error) {
	var out Ledger
	err := c.rest.With(rest.Timeout(AuditTime)).Do(ctx, http.MethodGet, "/v1/audit", nil, &out)
	return out, err
}

// RollUp moves the cut-off of the ledger's roll-up by one step.
func (c *Client) RollUp(ctx context.Context, r RollUpRequest) (RollUp, error) {
	var out RollUp
	err := c.rest.With(rest.Timeout(AuditTime)).Do(ctx, http.MethodPost, "/v1/audit/rollup", r, &out)
	return out, err
}

// Archive takes one step of archiving reservations up to an order number.
func (c *Client) Archive(ctx context.Context, to string) (Archived, error) {
	var out Archived
	err := c.rest.Do(ctx, http.MethodPost, "/v1/reservations/archive", ArchiveRequest{To: to}, &out)
	return out, err
}
