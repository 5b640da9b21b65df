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

// Stock reserves; strategy.Set is one. "" is the default strategy.
type Stock interface {
	Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error)
	// Batches reports whether the strategy executes concurrent orders together.
	Batches(strategy string) bool
	// Gathers reports whether the strategy takes the orders of a call together, by ReserveAll.
	Gathers(strategy string) bool
	ReserveAll(ctx context.Context, requests []stock.Request) []stock.Outcome
}

// Orders reserves the orders of a call concurrently: at most as many as there are workers, and without a limit those of
// a strategy that batches. A strategy that gathers gets its orders in one call.
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
	gathered := map[string][]int{} // places in orders, by strategy
	for i, order := range orders {
		if o.Stock.Gathers(order.Strategy) {
			gathered[order.Strategy] = append(gathered[order.Strategy], i)
		}
	}
	for _, places := range gathered {
		batched.Go(func() error {
			o.reserve(ctx, orders, places, results)
			return nil
		})
	}
	for i, order := range orders {
		group := &workers
		switch {
		case o.Stock.Gathers(order.Strategy):
			continue
		case o.Stock.Batches(order.Strategy):
			group = &batched
		}
		group.Go(func() error {
			o.reserve(ctx, orders, []int{i}, results)
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

// reserve reserves the orders at these places, which are of one strategy. It turns a panic into the orders' internal
// problem, because a panic in its goroutine would end the process.
func (o Orders) reserve(ctx context.Context, orders []inventoryapi.ReserveOrder, places []int, results []inventoryapi.ReserveResult) {
	fail := func(err error) {
		for _, i := range places {
			results[i] = inventoryapi.ReserveResult{OrderNo: orders[i].OrderNo, Problem: problem(ctx, err)}
		}
	}
	defer func() {
		if v := recover(); v != nil {
			o.Log.ErrorContext(ctx, "reserve panicked", "order_no", orders[places[0]].OrderNo, "orders", len(places), "panic", v, "stack", string(debug.Stack()))
			fail(fault.ErrInternal)
		}
	}()
	if ctx.Err() != nil { // the deadline passed before the turn of these orders
		fail(fault.From(ctx.Err()).NotExecuted())
		return
	}
	requests := make([]stock.Request, len(places))
	for n, i := range places {
		requests[n] = request(orders[i])
	}
	for n, outcome := range o.outcomes(ctx, requests) {
		results[places[n]] = o.result(ctx, requests[n].OrderNo, outcome)
	}
}

func (o Orders) outcomes(ctx context.Context, requests []stock.Request) []stock.Outcome {
	if o.Stock.Gathers(requests[0].Strategy) {
		return o.Stock.ReserveAll(ctx, requests)
	}
	receipt, err := o.Stock.Reserve(ctx, requests[0])
	return []stock.Outcome{{Receipt: receipt, Err: err}}
}

func (o Orders) result(ctx context.Context, orderNo string, outcome stock.Outcome) inventoryapi.ReserveResult {
	out := inventoryapi.ReserveResult{OrderNo: orderNo}
	if outcome.Err != nil {
		o.logFailure(ctx, orderNo, outcome.Err)
		out.Problem = problem(ctx, outcome.Err)
		return out
	}
	out.Receipt = Receipt(outcome.Receipt)
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
