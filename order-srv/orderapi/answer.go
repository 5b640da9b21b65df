package orderapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/fault"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
)

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
