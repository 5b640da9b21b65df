package httpapi

import (
	"context"
	"net/http"
	"runtime/debug"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
)

// reserve handles the call's orders concurrently: at most as many as there are workers, and without a limit those of a
// strategy that batches, so that they reach one transaction. The call succeeds once it is decoded; each order has an
// outcome of its own.
func (a *api) reserve(c *gin.Context) (int, any, error) {
	var in inventoryapi.ReserveRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	if len(in.Orders) == 0 || len(in.Orders) > inventoryapi.MaxOrdersPerCall {
		return 0, nil, errInvalidOrders.WithText("a call has 1 to %d orders, not %d", inventoryapi.MaxOrdersPerCall, len(in.Orders))
	}
	ctx := c.Request.Context()
	out := inventoryapi.ReserveResponse{Results: make([]inventoryapi.ReserveResult, len(in.Orders))}
	var workers, batched errgroup.Group
	workers.SetLimit(a.workers)
	for i, order := range in.Orders {
		group := &workers
		if a.stock.Batches(order.Strategy) {
			group = &batched
		}
		group.Go(func() error {
			out.Results[i] = a.outcome(ctx, order)
			return nil
		})
	}
	_, _ = workers.Wait(), batched.Wait() // the workers' errors are in their results
	return http.StatusOK, out, nil
}

// outcome reserves one order. It turns a panic into the order's internal problem, because a panic in its goroutine
// would end the process.
func (a *api) outcome(ctx context.Context, order inventoryapi.ReserveOrder) (out inventoryapi.ReserveResult) {
	out.OrderNo = order.OrderNo
	defer func() {
		if v := recover(); v != nil {
			a.log.ErrorContext(ctx, "reserve panicked", "order_no", order.OrderNo, "panic", v, "stack", string(debug.Stack()))
			out.Receipt, out.Problem = nil, problem(ctx, fault.ErrInternal)
		}
	}()
	if ctx.Err() != nil { // the deadline passed before this order's turn
		out.Problem = problem(ctx, fault.From(ctx.Err()).NotExecuted())
		return out
	}
	receipt, err := a.stock.Reserve(ctx, request(order))
	if err != nil {
		a.logFailure(ctx, order.OrderNo, err)
		out.Problem = problem(ctx, err)
		return out
	}
	out.Receipt = wireReceipt(receipt)
	return out
}

// logFailure logs faults that are no refusals. The access line cannot, because the call was answered with 200.
func (a *api) logFailure(ctx context.Context, orderNo string, err error) {
	switch fault.KindOf(err) {
	case fault.Internal:
		a.log.ErrorContext(ctx, "reserve failed", "order_no", orderNo, "err", err)
	case fault.Unavailable, fault.Timeout:
		a.log.WarnContext(ctx, "reserve failed", "order_no", orderNo, "err", err)
	}
}

func problem(ctx context.Context, err error) *fault.Problem {
	p := fault.ToProblem(err)
	p.Status = web.Status(p.Kind)
	p.RequestID = telemetry.RequestID(ctx)
	return &p
}

func request(order inventoryapi.ReserveOrder) stock.Request {
	r := stock.Request{OrderNo: order.OrderNo, Strategy: order.Strategy, Lines: make([]stock.Line, len(order.Lines))}
	for i, l := range order.Lines {
		r.Lines[i] = stock.Line(l)
	}
	return r
}

func wireReceipt(r stock.Receipt) *inventoryapi.Receipt {
	out := &inventoryapi.Receipt{
		OrderNo: r.OrderNo, Strategy: r.Strategy, AmountCents: r.AmountCents(),
		Lines: make([]inventoryapi.ReceiptLine, len(r.Lines)),
	}
	for i, l := range r.Lines {
		out.Lines[i] = inventoryapi.ReceiptLine(l)
	}
	return out
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
	if len(in.OrderNos) == 0 || len(in.OrderNos) > inventoryapi.MaxStates {
		return 0, nil, errInvalidOrders.WithText("a call has 1 to %d orders, not %d", inventoryapi.MaxStates, len(in.OrderNos))
	}
	for _, no := range in.OrderNos {
		if err := stock.CheckOrderNo(no); err != nil {
			return 0, nil, err
		}
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
