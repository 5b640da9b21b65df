package httpapi

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/web"
)

// defaultPage is how many entries a page has without a limit in the query.
const defaultPage = 100

func (a *api) products(c *gin.Context) (int, any, error) {
	limit, err := web.QueryInt(c, "limit", defaultPage, 1, store.MaxPage)
	if err != nil {
		return 0, nil, err
	}
	found, err := a.store.Products(c.Request.Context(), c.Query("cursor"), limit+1)
	if err != nil {
		return 0, nil, err
	}
	page := inventoryapi.ProductPage{Products: make([]inventoryapi.Product, 0, len(found))}
	if len(found) > limit {
		found = found[:limit]
		page.NextCursor = found[limit-1].SKU
	}
	for _, p := range found {
		page.Products = append(page.Products, inventoryapi.Product(p))
	}
	return http.StatusOK, page, nil
}

func (a *api) product(c *gin.Context) (int, any, error) {
	p, err := a.store.Product(c.Request.Context(), c.Param("sku"))
	return http.StatusOK, inventoryapi.Product(p), err
}

func (a *api) createProduct(c *gin.Context) (int, any, error) {
	var in inventoryapi.CreateProductRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	if in.Lab && !a.stock.Lab() {
		return 0, nil, stock.ErrLabNotAllowed
	}
	p, err := a.store.CreateProduct(c.Request.Context(), store.Product{SKU: in.SKU, Title: in.Title, PriceCents: in.PriceCents, Lab: in.Lab})
	return http.StatusCreated, inventoryapi.Product(p), err
}

func (a *api) inbound(c *gin.Context) (int, any, error) {
	var in inventoryapi.InboundRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	p, err := a.store.Receive(c.Request.Context(), store.Inbound{
		SKU: c.Param("sku"), Quantity: in.Quantity, Reference: in.Reference, Reason: in.Reason, Actor: in.Actor,
	})
	return http.StatusOK, inventoryapi.Product(p), err
}

func (a *api) setLayout(c *gin.Context) (int, any, error) {
	var in inventoryapi.LayoutRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	p, err := a.stock.SetLayout(c.Request.Context(), c.Param("sku"), layout.Shape(in))
	return http.StatusOK, inventoryapi.Product(p), err
}

func (a *api) audit(c *gin.Context) (int, any, error) {
	found, err := a.store.Audit(c.Request.Context())
	if err != nil {
		return 0, nil, err
	}
	losses, err := a.stock.Losses(c.Request.Context())
	if err != nil {
		return 0, nil, err
	}
	out := inventoryapi.Ledger{
		TakenAt: found.TakenAt, Cutoff: found.Cutoff, SKUs: make([]inventoryapi.LedgerEntry, len(found.Entries)), Losses: make([]inventoryapi.Loss, len(losses)),
	}
	for i, l := range losses {
		out.Losses[i] = inventoryapi.Loss{Reason: l.Reason, Operations: l.Operations, Units: l.Units, NoticedAt: l.NoticedAt, Orders: l.Orders}
	}
	for i, e := range found.Entries {
		out.SKUs[i] = inventoryapi.LedgerEntry(e)
	}
	return http.StatusOK, out, nil
}

func (a *api) rollUp(c *gin.Context) (int, any, error) {
	var in inventoryapi.RollUpRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	cutoff, done, err := a.store.RollUp(c.Request.Context(), in.To, in.Restart)
	return http.StatusOK, inventoryapi.RollUp{Cutoff: cutoff, Done: done}, err
}

func (a *api) strategies(*gin.Context) (int, any, error) {
	out := inventoryapi.Strategies{Default: a.stock.Default(), Lab: a.stock.Lab(), Strategies: []inventoryapi.Strategy{}}
	for _, s := range a.stock.Strategies() {
		out.Strategies = append(out.Strategies, inventoryapi.Strategy{Name: s.Name, Layout: s.Layout, Idea: s.Idea, Safe: s.Safe, SafeAlone: s.SafeAlone})
	}
	return http.StatusOK, out, nil
}
