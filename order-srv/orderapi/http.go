package orderapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/rest"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
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

// Wait returns one of the user's own orders when it is decided, or as it is when the time has passed: at most
// web.MaxWait. A service that is too busy answers at once. ErrNotFound.
func (s *Session) Wait(ctx context.Context, orderNo string, d time.Duration) (Order, error) {
	var o Order
	q := url.Values{"wait": {d.String()}}
	err := s.rest.With(rest.Longer(d)).Do(ctx, http.MethodGet, "/v1/orders/"+url.PathEscape(orderNo)+"?"+q.Encode(), nil, &o)
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

// RequestAudit queues an audit. Admins only.
func (s *Session) RequestAudit(ctx context.Context, r AuditRequest) (AuditJob, error) {
	var j AuditJob
	err := s.rest.Do(ctx, http.MethodPost, "/v1/audits", r, &j)
	return j, err
}

// AuditJob returns an audit. ErrUnknownAudit. Admins only.
func (s *Session) AuditJob(ctx context.Context, id string) (AuditJob, error) {
	var j AuditJob
	err := s.rest.Do(ctx, http.MethodGet, "/v1/audits/"+url.PathEscape(id), nil, &j)
	return j, err
}

// Audit requests an audit and waits for it. ErrAuditRunning when it takes longer than a request may. Admins only.
func (s *Session) Audit(ctx context.Context) (Audit, error) {
	var a Audit
	err := s.rest.Do(ctx, http.MethodGet, "/v1/audit", nil, &a)
	return a, err
}

// Reply is the answer to a request for an order, as it is stored and repeated byte by byte.
type Reply struct {
	OrderNo string
	Status  int
	Body    []byte
}

// Placed is the answer about a PLACED order.
func Placed(o order.Order) (Reply, error) { return about(o, http.StatusCreated) }

// Pending is the answer while the order is undecided. It is not stored.
func Pending(o order.Order) (Reply, error) { return about(o, http.StatusAccepted) }

func about(o order.Order, status int) (Reply, error) {
	body, err := json.Marshal(From(o))
	return Reply{o.OrderNo, status, body}, err
}

// Refused is the answer about an order that was refused. It carries the request id of ctx.
func Refused(ctx context.Context, orderNo string, refusal error) (Reply, error) {
	f := fault.From(refusal)
	p := fault.ToProblem(f.With("order_no", orderNo))
	p.Status, p.RequestID = web.Status(f.Kind), telemetry.RequestID(ctx)
	body, err := json.Marshal(p)
	return Reply{orderNo, p.Status, body}, err
}

// From is an order as clients see it.
func From(o order.Order) Order {
	out := Order{
		OrderNo: o.OrderNo, Status: string(o.Status), Reason: o.Reason, Strategy: o.Strategy, AmountCents: o.AmountCents, Items: make([]Item, len(o.Items)),
		CreatedAt: o.CreatedAt, ExpiresAt: optional(o.ExpiresAt), PaidAt: optional(o.PaidAt),
	}
	for i, it := range o.Items {
		out.Items[i] = Item{SKU: it.SKU, Quantity: it.Quantity, Title: it.Title, UnitPriceCents: it.UnitPriceCents}
	}
	return out
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
