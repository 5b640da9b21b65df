package gateway

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/header"
	"holdfast/pkg/web"
)

// orderRequest is the public POST /v1/orders.
type orderRequest struct {
	Items []orderapi.PlaceItem `json:"items"`
}

// session is a client of order-srv on behalf of the caller.
func (g *gateway) session(c *gin.Context) *orderapi.Session {
	caller := callerOf(c)
	return g.orders.As(caller.User, caller.Role)
}

// toTheEnd is the request's context without its cancellation, but with its deadline. The gateway waits for a decision
// that has begun even if the client has gone: the slot is then taken for as long as the work takes.
func toTheEnd(c *gin.Context) (context.Context, context.CancelFunc) {
	ctx := context.WithoutCancel(c.Request.Context())
	if deadline, ok := c.Request.Context().Deadline(); ok {
		return context.WithDeadline(ctx, deadline)
	}
	return context.WithCancel(ctx) // the client of order-srv has a timeout of its own
}

// placeOrder answers 201 for a placed order and 202 for a pending one. Location is the order's address.
func (g *gateway) placeOrder(c *gin.Context) (int, any, error) {
	request, err := g.readOrder(c)
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := toTheEnd(c)
	defer cancel()
	order, placed, err := g.place(ctx, callerOf(c), request)
	if err != nil {
		return 0, nil, err
	}
	c.Header("Location", "/v1/orders/"+order.OrderNo)
	if !placed {
		return http.StatusAccepted, order, nil
	}
	return http.StatusCreated, order, nil
}

func (g *gateway) place(ctx context.Context, caller Caller, r orderapi.PlaceRequest) (o orderapi.Order, placed bool, err error) {
	if g.gatherer == nil {
		return g.orders.As(caller.User, caller.Role).Place(ctx, r)
	}
	return g.gatherer.Place(ctx, caller.User, caller.Role, r)
}

// readOrder checks all that the gateway can check alone.
func (g *gateway) readOrder(c *gin.Context) (orderapi.PlaceRequest, error) {
	key, err := idempotencyKey(c.Request.Header)
	if err != nil {
		return orderapi.PlaceRequest{}, err
	}
	strategies := c.Request.Header.Values(header.Strategy)
	if len(strategies) > 0 && !g.lab {
		return orderapi.PlaceRequest{}, orderapi.ErrStrategyNotAllowed
	}
	if len(c.Request.Header.Values(header.Flow)) > 0 && !g.lab {
		return orderapi.PlaceRequest{}, orderapi.ErrFlowNotAllowed
	}
	var in orderRequest
	if err := web.Decode(c, &in); err != nil {
		return orderapi.PlaceRequest{}, err
	}
	lines := make([]inventoryapi.Line, len(in.Items))
	for i, item := range in.Items {
		lines[i] = inventoryapi.Line(item)
	}
	if err := inventoryapi.CheckLines(lines); err != nil {
		return orderapi.PlaceRequest{}, err
	}
	return orderapi.PlaceRequest{
		IdempotencyKey: key, Items: in.Items, Strategy: c.GetHeader(header.Strategy), Flow: c.GetHeader(header.Flow),
	}, nil
}

// idempotencyKey requires exactly one key: with two, the client and the services might remember different ones.
func idempotencyKey(h http.Header) (string, error) {
	if len(h.Values(header.IdempotencyKey)) > 1 {
		return "", orderapi.ErrInvalidKey
	}
	key := h.Get(header.IdempotencyKey)
	return key, orderapi.CheckKey(key)
}

func (g *gateway) listOrders(c *gin.Context) (int, any, error) {
	limit, err := web.QueryInt(c, "limit", defaultPage, 1, maxPage)
	if err != nil {
		return 0, nil, err
	}
	page, err := g.session(c).List(c.Request.Context(), c.Query("cursor"), limit)
	return http.StatusOK, page, err
}

func (g *gateway) getOrder(c *gin.Context) (int, any, error) {
	orderNo, err := orderNo(c)
	if err != nil {
		return 0, nil, err
	}
	order, err := g.session(c).Get(c.Request.Context(), orderNo)
	return http.StatusOK, order, err
}

// wait answers a request with the parameter wait, outside the limit of reading: it would take its slots for seconds in
// which nothing is done. A request without the parameter goes on, and so does one for which there is no place: it is
// answered at once.
func (g *gateway) wait(c *gin.Context) {
	d, err := web.QueryWait(c)
	if err != nil {
		web.Problem(c, err)
		return
	}
	if d == 0 {
		return
	}
	select {
	case g.waiting <- struct{}{}:
	default:
		return
	}
	defer func() { <-g.waiting }()
	if g.authenticate(c); !c.IsAborted() {
		web.Handle(func(c *gin.Context) (int, any, error) { return g.waitForOrder(c, d) })(c)
	}
	c.Abort()
}

// waitForOrder has order-srv wait, unless the gateway begins to stop meanwhile: it would break off a request that
// waits.
func (g *gateway) waitForOrder(c *gin.Context, d time.Duration) (int, any, error) {
	orderNo, err := orderNo(c)
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := context.WithCancel(c.Request.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		select {
		case <-g.stopping:
			cancel()
		case <-ctx.Done():
		}
	})
	order, err := g.session(c).Wait(ctx, orderNo, d)
	if err != nil && ctx.Err() != nil && c.Request.Context().Err() == nil {
		order, err = g.session(c).Get(c.Request.Context(), orderNo)
	}
	return http.StatusOK, order, err
}

func (g *gateway) payOrder(c *gin.Context) (int, any, error) {
	orderNo, err := orderNo(c)
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := toTheEnd(c)
	defer cancel()
	order, err := g.session(c).Pay(ctx, orderNo)
	return http.StatusOK, order, err
}

func (g *gateway) cancelOrder(c *gin.Context) (int, any, error) {
	orderNo, err := orderNo(c)
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := toTheEnd(c)
	defer cancel()
	order, err := g.session(c).Cancel(ctx, orderNo)
	return http.StatusOK, order, err
}

// orderNo returns ErrNotFound for what cannot be an order number: it must not become part of an internal path.
func orderNo(c *gin.Context) (string, error) {
	orderNo := c.Param("order_no")
	return orderNo, orderapi.CheckOrderNo(orderNo)
}
