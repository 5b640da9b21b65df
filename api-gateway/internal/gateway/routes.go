package gateway

import (
	"cmp"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"holdfast/order-srv/orderapi"
	"holdfast/pkg/admit"
	"holdfast/pkg/web"
)

// NewRefuser returns what refuses orders while placing is full: a flash sale sends its load to one route. Config.Engine
// and the server need it.
func NewRefuser(placing *admit.Limiter) *web.Refuser {
	return web.NewRefuser(map[web.Route]*admit.Limiter{{Method: http.MethodPost, Pattern: "/v1/orders"}: placing})
}

// Waiting is the route whose requests may wait, for Config.Engine.
func Waiting() web.Route { return web.Route{Method: http.MethodGet, Pattern: "/v1/orders/:order_no"} }

// New returns the public API. This is the whole of it.
func New(cfg Config) *gin.Engine {
	g := &gateway{
		orders: cfg.Orders, gatherer: cfg.Gatherer, inventory: cfg.Inventory, wallet: cfg.Wallet, tokens: cfg.Tokens, lab: cfg.Lab,
		waiting: make(chan struct{}, cmp.Or(cfg.MaxWaiting, MaxWaiting)), stopping: cfg.Stopping,
	}
	e := web.NewEngine(cfg.Engine)
	v1 := e.Group("/v1")

	if cfg.DemoLogin {
		v1.POST("/login", web.Handle(g.login)) // demonstrations only
	}
	// Refusing comes before authenticating: it has to cost less than what it prevents.
	placing, changing, reading := web.Admit(cfg.Placing), web.Admit(cfg.Changing), web.Admit(cfg.Reading)
	public := web.Cached(time.Second) // it comes before the limiter: a kept answer needs no slot
	v1.GET("/products", public, reading, web.Handle(g.products))
	v1.GET("/products/:sku", public, reading, web.Handle(g.product))
	v1.POST("/orders", placing, g.authenticate, web.Handle(g.placeOrder)) // needs Idempotency-Key
	v1.GET("/orders", reading, g.authenticate, web.Handle(g.listOrders))
	v1.GET("/orders/:order_no", g.wait, reading, g.authenticate, web.Handle(g.getOrder))
	v1.POST("/orders/:order_no/payment", changing, g.authenticate, web.Handle(g.payOrder))
	v1.POST("/orders/:order_no/cancellation", changing, g.authenticate, web.Handle(g.cancelOrder))
	v1.GET("/orders/:order_no/notifications", reading, g.authenticate, web.Handle(g.notifications))
	v1.POST("/orders/:order_no/notifications/:id/resend", changing, g.authenticate, web.Handle(g.resendNotification))
	v1.PUT("/webhook", changing, g.authenticate, web.Handle(g.putWebhook))
	v1.GET("/webhook", reading, g.authenticate, web.Handle(g.getWebhook))
	v1.DELETE("/webhook", changing, g.authenticate, web.Handle(g.deleteWebhook))
	v1.GET("/wallet", reading, g.authenticate, web.Handle(g.ownWallet))
	v1.GET("/wallet/entries", reading, g.authenticate, web.Handle(g.walletEntries))

	admin := v1.Group("/admin", g.authenticate, g.requireRole(orderapi.RoleAdmin))
	admin.POST("/products", web.Handle(g.createProduct))
	admin.POST("/products/:sku/inbound", web.Handle(g.inbound))
	admin.PUT("/products/:sku/layout", web.Handle(g.setLayout))
	admin.POST("/wallets/:user/credits", web.Handle(g.creditWallet))
	admin.GET("/audit", web.Handle(g.audit))
	admin.POST("/audits", web.Handle(g.requestAudit))
	admin.GET("/audits/:id", web.Handle(g.auditJob))
	admin.GET("/dead-letters", web.Handle(g.deadLetters))
	admin.POST("/dead-letters/resend", web.Handle(g.resendDeadLetters))
	admin.GET("/strategies", web.Handle(g.strategies))
	return e
}
