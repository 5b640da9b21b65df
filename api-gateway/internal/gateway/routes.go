package gateway

import (
	"github.com/gin-gonic/gin"

	"holdfast/order-srv/orderapi"
	"holdfast/pkg/web"
)

// New returns the public API. This is the whole of it.
func New(cfg Config) *gin.Engine {
	g := &gateway{orders: cfg.Orders, inventory: cfg.Inventory, tokens: cfg.Tokens, lab: cfg.Lab}
	e := web.NewEngine(cfg.Engine)
	v1 := e.Group("/v1")

	if cfg.DemoLogin {
		v1.POST("/login", web.Handle(g.login)) // everybody may be anybody
	}
	v1.GET("/products", web.Handle(g.products))
	v1.GET("/products/:sku", web.Handle(g.product))

	user := v1.Group("", g.authenticate)
	user.POST("/orders", web.Handle(g.placeOrder)) // needs Idempotency-Key
	user.GET("/orders", web.Handle(g.listOrders))
	user.GET("/orders/:order_no", web.Handle(g.getOrder))
	user.POST("/orders/:order_no/payment", web.Handle(g.payOrder))
	user.POST("/orders/:order_no/cancellation", web.Handle(g.cancelOrder))

	admin := v1.Group("/admin", g.authenticate, g.requireRole(orderapi.RoleAdmin))
	admin.POST("/products", web.Handle(g.createProduct))
	admin.POST("/products/:sku/inbound", web.Handle(g.inbound))
	admin.PUT("/products/:sku/layout", web.Handle(g.setLayout))
	admin.GET("/audit", web.Handle(g.audit))
	admin.GET("/strategies", web.Handle(g.strategies))
	return e
}
