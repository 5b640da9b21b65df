// Package answer renders the answers to a request for an order. The first answer is stored with the order and repeated
// byte by byte.
package answer

import (
	"context"
	"encoding/json"
	"net/http"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
)

// Reply is an answer as it is stored and repeated.
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
	body, err := json.Marshal(orderapi.From(o))
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
