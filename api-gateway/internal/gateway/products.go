package gateway

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/web"
)

func (g *gateway) products(c *gin.Context) (int, any, error) {
	limit, err := web.QueryInt(c, "limit", defaultPage, 1, maxPage)
	if err != nil {
		return 0, nil, err
	}
	page, err := g.inventory.Products(c.Request.Context(), c.Query("cursor"), limit)
	return http.StatusOK, page, err
}

func (g *gateway) product(c *gin.Context) (int, any, error) {
	sku, err := sku(c)
	if err != nil {
		return 0, nil, err
	}
	product, err := g.inventory.Product(c.Request.Context(), sku)
	return http.StatusOK, product, err
}

func (g *gateway) createProduct(c *gin.Context) (int, any, error) {
	var in inventoryapi.CreateProductRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	if in.Lab && !g.lab {
		return 0, nil, inventoryapi.ErrLabNotAllowed
	}
	product, err := g.inventory.CreateProduct(c.Request.Context(), in)
	return http.StatusCreated, product, err
}

// inboundRequest is the public form of an inventoryapi.InboundRequest. The operator is in the token, not in the body.
type inboundRequest struct {
	Quantity  int64  `json:"quantity"`
	Reference string `json:"reference"`
	Reason    string `json:"reason"`
}

func (g *gateway) inbound(c *gin.Context) (int, any, error) {
	sku, err := sku(c)
	if err != nil {
		return 0, nil, err
	}
	var in inboundRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	product, err := g.inventory.Inbound(c.Request.Context(), sku, inventoryapi.InboundRequest{
		Quantity: in.Quantity, Reference: in.Reference, Reason: in.Reason, Actor: callerOf(c).User,
	})
	return http.StatusOK, product, err
}

func (g *gateway) setLayout(c *gin.Context) (int, any, error) {
	sku, err := sku(c)
	if err != nil {
		return 0, nil, err
	}
	var in inventoryapi.LayoutRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	product, err := g.inventory.SetLayout(c.Request.Context(), sku, in)
	return http.StatusOK, product, err
}

func (g *gateway) strategies(c *gin.Context) (int, any, error) {
	found, err := g.inventory.Strategies(c.Request.Context())
	return http.StatusOK, found, err
}

// audit is order-srv's, which joins both ledgers.
func (g *gateway) audit(c *gin.Context) (int, any, error) {
	report, err := g.session(c).Audit(c.Request.Context())
	return http.StatusOK, report, err
}

func (g *gateway) requestAudit(c *gin.Context) (int, any, error) {
	var in orderapi.AuditRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	job, err := g.session(c).RequestAudit(c.Request.Context(), in)
	if err != nil {
		return 0, nil, err
	}
	c.Header("Location", "/v1/admin/audits/"+job.ID)
	return http.StatusAccepted, job, nil
}

func (g *gateway) auditJob(c *gin.Context) (int, any, error) {
	job, err := g.session(c).AuditJob(c.Request.Context(), c.Param("id"))
	return http.StatusOK, job, err
}

func (g *gateway) deadLetters(c *gin.Context) (int, any, error) {
	limit, err := web.QueryInt(c, "limit", 100, 1, 1000)
	if err != nil {
		return 0, nil, err
	}
	found, err := g.session(c).DeadLetters(c.Request.Context(), limit)
	return http.StatusOK, found, err
}

func (g *gateway) resendDeadLetters(c *gin.Context) (int, any, error) {
	var r orderapi.ResendRequest
	if err := web.Decode(c, &r); err != nil {
		return 0, nil, err
	}
	done, err := g.session(c).ResendDeadLetters(c.Request.Context(), r)
	return http.StatusOK, done, err
}

// sku returns ErrUnknownSKU for what no product can be called, so that it never becomes part of an internal path.
func sku(c *gin.Context) (string, error) {
	sku := c.Param("sku")
	if err := inventoryapi.CheckLines([]inventoryapi.Line{{SKU: sku, Quantity: 1}}); err != nil {
		return "", inventoryapi.ErrUnknownSKU
	}
	return sku, nil
}
