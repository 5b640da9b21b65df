package httpapi

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/web"
)

// reserve reserves the call's orders. The call succeeds once it is decoded; each order has an outcome of its own.
func (a *api) reserve(c *gin.Context) (int, any, error) {
	var in inventoryapi.ReserveRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	if len(in.Orders) == 0 || len(in.Orders) > inventoryapi.MaxOrdersPerCall {
		return 0, nil, errInvalidOrders.WithText("a call has 1 to %d orders, not %d", inventoryapi.MaxOrdersPerCall, len(in.Orders))
	}
	out := inventoryapi.ReserveResponse{Results: a.orders.Reserve(c.Request.Context(), in.Orders)}
	for _, r := range out.Results {
		if r.Problem != nil {
			r.Problem.Status = web.Status(r.Problem.Kind)
		}
	}
	return http.StatusOK, out, nil
}

func (a *api) confirm(c *gin.Context) (int, any, error) {
	return http.StatusNoContent, nil, a.stock.Confirm(c.Request.Context(), c.Param("order_no"))
}

func (a *api) release(c *gin.Context) (int, any, error) {
	return http.StatusNoContent, nil, a.stock.Release(c.Request.Context(), c.Param("order_no"))
}

func (a *api) states(c *gin.Context) (int, any, error) {
	var in inventoryapi.StatesRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	if err := checkOrderNos(in.OrderNos); err != nil {
		return 0, nil, err
	}
	states, err := a.store.States(c.Request.Context(), in.OrderNos)
	if err != nil {
		return 0, nil, err
	}
	out := inventoryapi.StatesResponse{States: make(map[string]string, len(states))}
	for no, s := range states {
		out.States[no] = string(s)
	}
	return http.StatusOK, out, nil
}

// checkOrderNos checks the orders of a question about several.
func checkOrderNos(orderNos []string) error {
	if len(orderNos) == 0 || len(orderNos) > inventoryapi.MaxStates {
		return errInvalidOrders.WithText("a call has 1 to %d orders, not %d", inventoryapi.MaxStates, len(orderNos))
	}
	for _, no := range orderNos {
		if err := stock.CheckOrderNo(no); err != nil {
			return err
		}
	}
	return nil
}

func (a *api) answers(c *gin.Context) (int, any, error) {
	var in inventoryapi.AnswersRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	if err := checkOrderNos(in.OrderNos); err != nil {
		return 0, nil, err
	}
	refused, err := a.store.Answers().Known(c.Request.Context(), in.OrderNos)
	return http.StatusOK, inventoryapi.AnswersResponse{Refused: refused}, err
}

func (a *api) archive(c *gin.Context) (int, any, error) {
	var in inventoryapi.ArchiveRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	step, err := a.stock.Archive(c.Request.Context(), in.To)
	return http.StatusOK, inventoryapi.Archived(step), err
}

func (a *api) reservations(c *gin.Context) (int, any, error) {
	limit, err := web.QueryInt(c, "limit", defaultPage, 1, store.MaxPage)
	if err != nil {
		return 0, nil, err
	}
	// A caller that has read orders expects all their reservations: the ledger first receives what strategies have
	// answered.
	if c.Query("after") == "" || c.Query("answered") == "true" {
		if err := a.stock.Settled(c.Request.Context()); err != nil {
			return 0, nil, err
		}
	}
	// One more than the limit shows whether this page is the last.
	found, err := a.store.Reservations(c.Request.Context(), c.Query("after"), c.Query("to"), limit+1)
	if err != nil {
		return 0, nil, err
	}
	page := inventoryapi.ReservationPage{Reservations: make([]inventoryapi.Reservation, 0, len(found))}
	if len(found) > limit {
		found = found[:limit]
		page.After = found[limit-1].OrderNo
	}
	for _, r := range found {
		lines := make([]inventoryapi.Line, len(r.Lines))
		for i, l := range r.Lines {
			lines[i] = inventoryapi.Line(l)
		}
		page.Reservations = append(page.Reservations, inventoryapi.Reservation{
			OrderNo: r.OrderNo, Status: string(r.Status), Strategy: r.Strategy, Lines: lines, CreatedAt: r.CreatedAt, AgeMS: r.AgeMS,
		})
	}
	return http.StatusOK, page, nil
}
