// Package httpapi is inventory-srv's HTTP side: it decodes, calls one method and renders. It is the only package here
// that knows gin, and inventoryapi is its contract.
package httpapi

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"holdfast/inventory-srv/internal/reserve"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/admit"
	"holdfast/pkg/fault"
	"holdfast/pkg/web"
)

// Config is what the API needs.
type Config struct {
	Stock *strategy.Set
	Store *store.Store

	Branches strategy.Branches // of global transactions
	Engine   web.EngineConfig
	Workers  int // orders of one call that are reserved at the same time; default reserve.DefaultWorkers

	// Limiters of the calls in flight; nil admits everything. Reading limits the reads of products, which are public.
	Reserving, Reading *admit.Limiter
}

// maxBody is room for the largest call of reservations: 1,000 orders of 100 lines.
const maxBody = 12 << 20

// The faults of this API alone.
var (
	errInvalidOrders = fault.New(fault.Invalid, "invalid_orders", "a call has 1 to 1000 orders")
)

type api struct {
	stock    *strategy.Set
	store    *store.Store
	branches strategy.Branches
	orders   reserve.Orders
}

// New returns the handler of all internal routes.
func New(cfg Config) http.Handler {
	if cfg.Engine.MaxBody == 0 {
		cfg.Engine.MaxBody = maxBody
	}
	cfg.Engine.Timeouts = map[web.Route]time.Duration{
		{Method: http.MethodGet, Pattern: "/v1/audit"}:         inventoryapi.AuditTime,
		{Method: http.MethodPost, Pattern: "/v1/audit/rollup"}: inventoryapi.AuditTime,
	}
	a := &api{stock: cfg.Stock, store: cfg.Store, branches: cfg.Branches, orders: reserve.Orders{Stock: cfg.Stock, Log: cfg.Engine.Log, Workers: cfg.Workers}}
	e := web.NewEngine(cfg.Engine)
	a.routes(e.Group("/v1"), web.Admit(cfg.Reserving), web.Admit(cfg.Reading))
	return e
}

func (a *api) routes(r gin.IRoutes, reserving, reading gin.HandlerFunc) {
	r.POST("/reservations", reserving, web.Handle(a.reserve))
	r.POST("/reservations/:order_no/confirmation", web.Handle(a.confirm))
	r.POST("/reservations/:order_no/release", web.Handle(a.release))
	r.POST("/reservations/states", web.Handle(a.states))
	r.POST("/reservations/answers", web.Handle(a.answers))
	r.POST("/reservations/archive", web.Handle(a.archive))
	r.GET("/reservations", web.Handle(a.reservations))

	r.POST("/branches", reserving, web.Handle(a.prepareBranch))
	r.POST("/branches/:order_no/commit", web.Handle(a.commitBranch))
	r.POST("/branches/:order_no/rollback", web.Handle(a.rollBackBranch))
	r.GET("/branches", web.Handle(a.listBranches))

	r.GET("/products", reading, web.Handle(a.products))
	r.GET("/products/:sku", reading, web.Handle(a.product))
	r.POST("/products", web.Handle(a.createProduct))
	r.POST("/products/:sku/inbound", web.Handle(a.inbound))
	r.PUT("/products/:sku/layout", web.Handle(a.setLayout))

	r.GET("/audit", web.Handle(a.audit))
	r.POST("/audit/rollup", web.Handle(a.rollUp))
	r.GET("/strategies", web.Handle(a.strategies))

	r.GET("/outbox", web.Handle(a.outbox))
	r.POST("/outbox/resend", web.Handle(a.resendParked))
}
