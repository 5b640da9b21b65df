package replicatest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
)

// Patience is how long a test waits for what must happen.
const Patience = stocktest.Patience

// Order returns the request of an order that names the strategy by.
func Order(no, by string, lines ...stock.Line) stock.Request {
	return stock.Request{OrderNo: no, Lines: lines, Strategy: by}
}

// Line returns a line of a request.
func Line(sku string, quantity int64) stock.Line { return stock.Line{SKU: sku, Quantity: quantity} }

// Settle repeats a confirm or release for as long as it is contended.
func Settle(ctx context.Context, op func(context.Context, string) error, orderNo string) error {
	for {
		err := op(ctx, orderNo)
		if !errors.Is(err, stock.ErrContended) || ctx.Err() != nil {
			return err
		}
	}
}

// AtOnce runs n calls of fn at the same time and waits for them.
func AtOnce(n int, fn func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	wg.Wait()
}

// Soon returns a context that ends after Patience.
func Soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Eventually waits for a condition.
func Eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	testkit.EventuallyTrue(t, Patience, what, condition)
}

// Reserver is as much of a strategy as a test needs of the real one and of its mutants.
type Reserver interface {
	Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error)
}

// GoReserve reserves in the background.
func GoReserve(ctx context.Context, r Reserver, request stock.Request) chan error {
	result := make(chan error, 1)
	go func() {
		_, err := r.Reserve(ctx, request)
		result <- err
	}()
	return result
}
