// Package reserve reserves the orders of one call, or of one message, together: each of them has an outcome of its own.
package reserve

import (
	"context"
	"log/slog"
	"runtime/debug"

	"golang.org/x/sync/errgroup"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/telemetry"
)

// DefaultWorkers is half of the connection pool, so that one large call leaves room for others.
const DefaultWorkers = 32

// Stock reserves; strategy.Set is one.
type Stock interface {
	Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error)
	// Batches reports whether the strategy, "" being the default, executes concurrent orders together.
	Batches(strategy string) bool
}

// Orders reserves the orders of a call concurrently: at most as many as there are workers, and without a limit those of
// a strategy that batches, so that they reach one transaction.
type Orders struct {
	Stock   Stock
	Log     *slog.Logger
	Workers int // default DefaultWorkers
}

// Reserve returns the orders' outcomes, in their order. A problem has no HTTP status.
func (o Orders) Reserve(ctx context.Context, orders []inventoryapi.ReserveOrder) []inventoryapi.ReserveResult {
	results := make([]inventoryapi.ReserveResult, len(orders))
	var workers, batched errgroup.Group
	workers.SetLimit(o.workers())
	for i, order := range orders {
		group := &workers
		if o.Stock.Batches(order.Strategy) {
			group = &batched
		}
		group.Go(func() error {
			results[i] = o.one(ctx, order)
			return nil
		})
	}
	_, _ = workers.Wait(), batched.Wait() // the workers' errors are in their results
	return results
}

func (o Orders) workers() int {
	if o.Workers == 0 {
		return DefaultWorkers
	}
	return o.Workers
}

// one reserves one order. It turns a panic into the order's internal problem, because a panic in its goroutine would
// end the process.
func (o Orders) one(ctx context.Context, order inventoryapi.ReserveOrder) (out inventoryapi.ReserveResult) {
	out.OrderNo = order.OrderNo
	defer func() {
		if v := recover(); v != nil {
			o.Log.ErrorContext(ctx, "reserve panicked", "order_no", order.OrderNo, "panic", v, "stack", string(debug.Stack()))
			out.Receipt, out.Problem = nil, problem(ctx, fault.ErrInternal)
		}
	}()
	if ctx.Err() != nil { // the deadline passed before this order's turn
		out.Problem = problem(ctx, fault.From(ctx.Err()).NotExecuted())
		return out
	}
	receipt, err := o.Stock.Reserve(ctx, request(order))
	if err != nil {
		o.logFailure(ctx, order.OrderNo, err)
		out.Problem = problem(ctx, err)
		return out
	}
	out.Receipt = Receipt(receipt)
	return out
}

// logFailure logs faults that are no refusals. The access line cannot, because the call was answered with 200.
func (o Orders) logFailure(ctx context.Context, orderNo string, err error) {
	switch fault.KindOf(err) {
	case fault.Internal:
		o.Log.ErrorContext(ctx, "reserve failed", "order_no", orderNo, "err", err)
	case fault.Unavailable, fault.Timeout:
		o.Log.WarnContext(ctx, "reserve failed", "order_no", orderNo, "err", err)
	}
}

func problem(ctx context.Context, err error) *fault.Problem {
	p := fault.ToProblem(err)
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

// Receipt is the receipt as it crosses HTTP.
func Receipt(r stock.Receipt) *inventoryapi.Receipt {
	out := &inventoryapi.Receipt{
		OrderNo: r.OrderNo, Strategy: r.Strategy, AmountCents: r.AmountCents(),
		Lines: make([]inventoryapi.ReceiptLine, len(r.Lines)),
	}
	for i, l := range r.Lines {
		out.Lines[i] = inventoryapi.ReceiptLine(l)
	}
	return out
}
