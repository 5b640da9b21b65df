// Package httpapi is order-srv's HTTP side: it decodes, calls one method, and renders.
package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/admit"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/web"
)

// Orders is what the routes need of the store.
type Orders interface {
	Get(ctx context.Context, userID, orderNo string) (order.Order, error)
	List(ctx context.Context, userID, before string, limit int) ([]order.Order, error)
	Pay(ctx context.Context, userID, orderNo string) (order.Order, error)
	Cancel(ctx context.Context, userID, orderNo string) (order.Order, error)

	Notifications(ctx context.Context, userID, orderNo string) ([]order.Notification, error)
	Resend(ctx context.Context, userID, orderNo, event string) (order.Notification, error)
}

// Intake takes requests for orders.
type Intake interface {
	Place(ctx context.Context, userID string, r orderapi.PlaceRequest) (orderapi.Reply, error)
}

// WaitingRoom has requests wait until an order is decided.
type WaitingRoom interface {
	Enter() (leave func(), ok bool)
	Wait(ctx context.Context, orderNo string)
}

// Waiting is the route whose requests may wait, for Config.Engine.
func Waiting() web.Route { return web.Route{Method: http.MethodGet, Pattern: "/v1/orders/:order_no"} }

// Config is what the handler is made of.
type Config struct {
	Engine web.EngineConfig
	Intake Intake
	Orders Orders
	Audits Audits

	Waiting WaitingRoom

	Webhooks    Webhooks
	DeadLetters DeadLetters
	Lab         bool // an order may name its strategy and its flow

	// Limiters of the requests in flight, one for each kind, so that a rush of one kind leaves the others their slots; nil
	// admits everything. Paying and cancelling are Changing.
	Placing, Changing, Reading *admit.Limiter
}

type api struct {
	Config
	engine http.Handler  // all routes
	reads  chan struct{} // has a value for each read of a request that may wait
}

// waitReads is how many requests that may wait read their orders at one time. No limiter bounds them, and a thousand
// that are woken together must not take the connections that orders need.
const waitReads = 16

// New returns the service's handler.
func New(cfg Config) http.Handler {
	a := &api{Config: cfg, reads: make(chan struct{}, waitReads)}
	e := web.NewEngine(cfg.Engine)
	a.engine = e
	v1 := e.Group("/v1")
	placing, changing, reading := web.Admit(cfg.Placing), web.Admit(cfg.Changing), web.Admit(cfg.Reading)
	v1.POST("/orders", placing, a.place)
	v1.POST("/orders/batch", a.placeBatch) // each of its orders is limited
	v1.GET("/orders", reading, web.Handle(a.list))
	v1.GET("/orders/:order_no", a.wait, reading, web.Handle(a.get))
	v1.POST("/orders/:order_no/payment", changing, web.Handle(a.pay))
	v1.POST("/orders/:order_no/cancellation", changing, web.Handle(a.cancel))
	v1.PUT("/webhook", changing, web.Handle(a.putWebhook))
	v1.GET("/webhook", reading, web.Handle(a.webhook))
	v1.DELETE("/webhook", changing, web.Handle(a.deleteWebhook))
	v1.GET("/orders/:order_no/notifications", reading, web.Handle(a.notifications))
	v1.POST("/orders/:order_no/notifications/:id/resend", changing, web.Handle(a.resendNotification))
	v1.GET("/audit", web.Handle(a.audit))
	v1.POST("/audits", web.Handle(a.requestAudit))
	v1.GET("/audits/:id", web.Handle(a.auditJob))
	v1.GET("/dead-letters", web.Handle(a.deadLetters))
	v1.POST("/dead-letters/resend", web.Handle(a.resend))
	return e
}

// maxStrategy is the width of the column.
const maxStrategy = 32

var (
	errUnknownStrategy = fault.New(fault.Invalid, "unknown_strategy", "no such strategy")
	errInvalidCursor   = fault.New(fault.Invalid, "invalid_parameter", "cursor is not one that a page named").With("parameter", "cursor")
)

func user(c *gin.Context) (string, error) {
	id := c.GetHeader(header.UserID)
	return id, order.CheckUser(id)
}

// place renders a stored answer byte by byte, so that a repeat gets what the first request got.
func (a *api) place(c *gin.Context) {
	reply, err := a.order(c)
	if err != nil {
		web.Problem(c, err)
		return
	}
	contentType := "application/json"
	switch {
	case reply.Status >= http.StatusBadRequest:
		contentType = "application/problem+json"
		note(c, reply.Body)
	case reply.Status == http.StatusAccepted:
		c.Header("Location", "/v1/orders/"+reply.OrderNo)
	}
	c.Data(reply.Status, contentType, reply.Body)
}

// note tells the access line which problem a stored answer is.
func note(c *gin.Context, body []byte) {
	var p fault.Problem
	if err := json.Unmarshal(body, &p); err == nil {
		_ = c.Error(p.Fault()) // for the access line
	}
}

func (a *api) order(c *gin.Context) (orderapi.Reply, error) {
	id, err := user(c)
	if err != nil {
		return orderapi.Reply{}, err
	}
	r, err := placeRequest(c)
	if err != nil {
		return orderapi.Reply{}, err
	}
	if err := a.check(r); err != nil {
		return orderapi.Reply{}, err
	}
	return a.Intake.Place(c.Request.Context(), id, r)
}

func (a *api) check(r orderapi.PlaceRequest) error {
	if err := order.CheckKey(r.IdempotencyKey); err != nil {
		return err
	}
	if r.Strategy != "" && !a.Lab {
		return order.ErrStrategyNotAllowed
	}
	if r.Flow != "" && !a.Lab {
		return order.ErrFlowNotAllowed
	}
	if len(r.Strategy) > maxStrategy {
		return errUnknownStrategy
	}
	lines := make([]inventoryapi.Line, len(r.Items))
	for i, it := range r.Items {
		lines[i] = inventoryapi.Line(it)
	}
	return inventoryapi.CheckLines(lines)
}

func (a *api) list(c *gin.Context) (int, any, error) {
	id, err := user(c)
	if err != nil {
		return 0, nil, err
	}
	limit, err := web.QueryInt(c, "limit", 20, 1, 100)
	if err != nil {
		return 0, nil, err
	}
	cursor := c.Query("cursor")
	if cursor != "" && order.CheckNumber(cursor) != nil {
		return 0, nil, errInvalidCursor
	}
	orders, err := a.Orders.List(c.Request.Context(), id, cursor, limit+1) // one more tells whether there is a next page
	if err != nil {
		return 0, nil, err
	}
	page := orderapi.OrderPage{Orders: []orderapi.Order{}}
	if len(orders) > limit {
		orders = orders[:limit]
		page.NextCursor = orders[limit-1].OrderNo
	}
	for _, o := range orders {
		page.Orders = append(page.Orders, orderapi.From(o))
	}
	return http.StatusOK, page, nil
}

func (a *api) get(c *gin.Context) (int, any, error) { return a.one(c, a.Orders.Get) }

// wait answers a request with the parameter wait, outside the limit of Reading: it would take its slots for seconds in
// which it does nothing, and its time says nothing about the load. A request without the parameter goes on, and so does
// one for which there is no place.
func (a *api) wait(c *gin.Context) {
	d, err := web.QueryWait(c)
	if err != nil {
		web.Problem(c, err)
		return
	}
	if d == 0 {
		return
	}
	leave, ok := a.Waiting.Enter()
	if !ok {
		return
	}
	defer leave()
	web.Handle(func(c *gin.Context) (int, any, error) {
		return a.one(c, func(ctx context.Context, userID, orderNo string) (order.Order, error) {
			return a.waitFor(ctx, userID, orderNo, d)
		})
	})(c)
	c.Abort()
}

// waitFor returns the order when it is not PENDING any more, or as it is after the time.
func (a *api) waitFor(ctx context.Context, userID, orderNo string, d time.Duration) (order.Order, error) {
	o, err := a.read(ctx, userID, orderNo)
	if err != nil || o.Status != order.Pending {
		return o, err
	}
	if end, ok := ctx.Deadline(); ok {
		d = min(d, time.Until(end)-answerTime)
	}
	waiting, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	a.Waiting.Wait(waiting, orderNo)
	return a.read(ctx, userID, orderNo)
}

// read reads the order of a request that may wait.
func (a *api) read(ctx context.Context, userID, orderNo string) (order.Order, error) {
	select {
	case a.reads <- struct{}{}:
	case <-ctx.Done():
		return order.Order{}, fault.From(ctx.Err()).NotExecuted()
	}
	defer func() { <-a.reads }()
	return a.Orders.Get(ctx, userID, orderNo)
}

func (a *api) pay(c *gin.Context) (int, any, error) { return a.one(c, a.Orders.Pay) }

func (a *api) cancel(c *gin.Context) (int, any, error) { return a.one(c, a.Orders.Cancel) }

// one does something with one of the user's own orders and renders it.
func (a *api) one(c *gin.Context, do func(ctx context.Context, userID, orderNo string) (order.Order, error)) (int, any, error) {
	id, err := user(c)
	if err != nil {
		return 0, nil, err
	}
	orderNo := c.Param("order_no")
	if err := order.CheckNumber(orderNo); err != nil {
		return 0, nil, err
	}
	o, err := do(c.Request.Context(), id, orderNo)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, orderapi.From(o), nil
}
