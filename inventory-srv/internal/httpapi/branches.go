package httpapi

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"holdfast/inventory-srv/internal/reserve"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/web"
)

func (a *api) prepareBranch(c *gin.Context) (int, any, error) {
	var in inventoryapi.PrepareRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	r := stock.Request{OrderNo: in.OrderNo, Strategy: in.Strategy, Lines: make([]stock.Line, len(in.Lines))}
	for i, l := range in.Lines {
		r.Lines[i] = stock.Line(l)
	}
	receipt, err := a.branches.Prepare(c.Request.Context(), r)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, reserve.Receipt(receipt), nil
}

func (a *api) commitBranch(c *gin.Context) (int, any, error) {
	return http.StatusNoContent, nil, a.branches.Commit(c.Request.Context(), c.Param("order_no"))
}

func (a *api) rollBackBranch(c *gin.Context) (int, any, error) {
	return http.StatusNoContent, nil, a.branches.Rollback(c.Request.Context(), c.Param("order_no"))
}

func (a *api) listBranches(c *gin.Context) (int, any, error) {
	found, err := a.branches.List(c.Request.Context())
	if err != nil {
		return 0, nil, err
	}
	out := inventoryapi.BranchList{Branches: make([]inventoryapi.Branch, len(found))}
	for i, b := range found {
		out.Branches[i] = inventoryapi.Branch{OrderNo: b.OrderNo, AgeMS: b.Age.Milliseconds(), SKUs: b.SKUs}
	}
	return http.StatusOK, out, nil
}
