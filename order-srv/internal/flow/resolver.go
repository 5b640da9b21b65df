package flow

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/crash"
	"holdfast/pkg/fault"
	"holdfast/pkg/wait"
)

const (
	attemptTimeout = 1500 * time.Millisecond // of one call to inventory
	resolveReserve = 700 * time.Millisecond  // of the deadline that is kept for writing the outcome

	// leastAttempt must be left for an attempt. One that is cut turns "not executed" into an unknown outcome.
	leastAttempt = 150 * time.Millisecond

	firstPause = 40 * time.Millisecond // the limit of the pause after a failed attempt, doubling
	lastPause  = 320 * time.Millisecond
)

// Inventory is what the resolver needs of inventory-srv.
type Inventory interface {
	Reserve(ctx context.Context, orders []inventoryapi.ReserveOrder) ([]inventoryapi.ReserveResult, error)
}

var _ Inventory = (*inventoryapi.Client)(nil)

// Resolver decides PENDING orders. It knows no flow.
type Resolver struct {
	Store         *store.Store
	Inventory     Inventory
	PaymentWindow time.Duration // from PLACED to EXPIRED
	Log           *slog.Logger
}

// Resolve reserves the order's stock, with retries until the deadline of ctx is near, and writes the outcome: PLACED,
// or REJECTED after a refusal or when nothing was executed. It leaves the order PENDING when an attempt may have been
// executed and no answer says so, or when the outcome cannot be written: the order's flow recovers it later.
func (r *Resolver) Resolve(ctx context.Context, o order.Order) Result {
	receipt, maybe, err := r.reserve(ctx, o)
	switch {
	case err == nil:
		return r.place(ctx, o, receipt)
	case definite(err):
		shortage := errors.Is(err, inventoryapi.ErrOutOfStock)
		return r.reject(ctx, o, store.Rejection{Refusal: err, GiveBack: maybe, Shortage: shortage}, nil)
	case !maybe:
		err = notExecuted(err)
		return r.reject(ctx, o, store.Rejection{Refusal: err, FreeKey: true}, err)
	}
	r.Log.WarnContext(ctx, "order stays pending, its reserve has no answer", "order_no", o.OrderNo, "err", err)
	return Result{Order: o}
}

// reserve calls inventory until there is a definite answer or the deadline is near. maybe says that some attempt, an
// earlier or the last one, may have been executed, or may still be waiting in a queue.
func (r *Resolver) reserve(ctx context.Context, o order.Order) (receipt *inventoryapi.Receipt, maybe bool, err error) {
	end, _ := ctx.Deadline()
	ctx, cancel := context.WithDeadline(ctx, end.Add(-resolveReserve))
	defer cancel()
	backoff := wait.Backoff{First: firstPause, Max: lastPause, Attempt: leastAttempt}
	for try := 1; ; try++ {
		if end, ok := ctx.Deadline(); ok && time.Until(end) < leastAttempt { // writing and sending took the time
			return nil, maybe, fault.ErrTimeout.NotExecuted()
		}
		receipt, err = r.attempt(ctx, o)
		if err == nil || definite(err) {
			return receipt, maybe, err
		}
		maybe = maybe || fault.Ambiguous(err)
		// While an attempt may have been executed only another one can decide the order.
		retry := passing(err) || maybe && fault.KindOf(err) == fault.Limited
		if !retry || backoff.Sleep(ctx, try) != nil {
			return nil, maybe, err
		}
	}
}

func (r *Resolver) attempt(ctx context.Context, o order.Order) (*inventoryapi.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	ask := inventoryapi.ReserveOrder{OrderNo: o.OrderNo, Strategy: o.Strategy}
	for _, it := range o.Items {
		ask.Lines = append(ask.Lines, inventoryapi.Line{SKU: it.SKU, Quantity: it.Quantity})
	}
	results, err := r.Inventory.Reserve(ctx, []inventoryapi.ReserveOrder{ask})
	switch {
	case err != nil:
		return nil, err
	case len(results) != 1 || results[0].OrderNo != o.OrderNo:
		return nil, errors.New("inventory answered about other orders")
	case results[0].Problem != nil:
		return nil, results[0].Problem.Fault()
	case results[0].Receipt == nil:
		return nil, errors.New("inventory answered with neither a receipt nor a problem")
	}
	return results[0].Receipt, nil
}

// resolving gives the last step the time until resolveReserve after the order's deadline, but at least
// 2*resolveReserve. The units may be taken by now, and an outcome that is not written leaves the order PENDING.
func resolving(ctx context.Context) (context.Context, context.CancelFunc) {
	end := time.Now().Add(2 * resolveReserve)
	if t, ok := ctx.Deadline(); ok && t.Add(resolveReserve).After(end) {
		end = t.Add(resolveReserve)
	}
	return context.WithDeadline(context.WithoutCancel(ctx), end)
}

func (r *Resolver) place(ctx context.Context, o order.Order, receipt *inventoryapi.Receipt) Result {
	crash.At(crash.OrderReserved)
	ctx, cancel := resolving(ctx)
	defer cancel()
	items := make([]order.Item, len(receipt.Lines))
	for i, l := range receipt.Lines {
		items[i] = order.Item{SKU: l.SKU, Title: l.Title, Quantity: l.Quantity, UnitPriceCents: l.UnitPriceCents}
	}
	placed, err := r.Store.Place(ctx, o.OrderNo, store.Placement{Items: items, Strategy: receipt.Strategy, PaymentWindow: r.PaymentWindow})
	if err != nil {
		return r.unresolved(ctx, o, err)
	}
	crash.At(crash.OrderPlaced)
	return Result{Order: placed}
}

func (r *Resolver) reject(ctx context.Context, o order.Order, rejection store.Rejection, failure error) Result {
	ctx, cancel := resolving(ctx)
	defer cancel()
	rejected, err := r.Store.Reject(ctx, o.OrderNo, rejection)
	if err != nil {
		return r.unresolved(ctx, o, err)
	}
	crash.At(crash.OrderRejected)
	return Result{Order: rejected, Err: failure}
}

// unresolved is an outcome that could not be written. Either the order was ended before, which is definite; or the row
// is PENDING, or its status is unknown.
func (r *Resolver) unresolved(ctx context.Context, o order.Order, err error) Result {
	if errors.Is(err, order.ErrNotPending) {
		return Result{Err: order.ErrNotPending.With("order_no", o.OrderNo)}
	}
	r.Log.WarnContext(ctx, "outcome not written, the order is recovered later", "order_no", o.OrderNo, "err", err)
	return Result{Order: o}
}

// definite reports whether a refusal is inventory's last word. Any other failure is retried.
func definite(err error) bool {
	if fault.Ambiguous(err) {
		return false
	}
	for _, refusal := range []error{
		inventoryapi.ErrOutOfStock, inventoryapi.ErrUnknownSKU, inventoryapi.ErrInvalidLines, inventoryapi.ErrMismatch, inventoryapi.ErrClosed,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return fault.KindOf(err) == fault.Invalid
}

// passing reports whether a retry may be answered otherwise. A refusal for overload is not retried: a retry adds to the
// load.
func passing(err error) bool {
	switch fault.KindOf(err) {
	case fault.Contended, fault.Unavailable, fault.Timeout, fault.Internal:
		return true
	}
	return fault.Ambiguous(err)
}

// notExecuted is the fault of an order whose reserve was not executed. A deadline that passed in a queue becomes
// contended: contended says that a retry may succeed, and a timeout would not.
func notExecuted(err error) error {
	switch f := fault.From(err); f.Kind {
	case fault.Timeout, fault.Contended:
		return inventoryapi.ErrContended.Wrap(err)
	default:
		return f.NotExecuted()
	}
}
