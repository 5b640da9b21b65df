package strategy

import (
	"context"

	"holdfast/inventory-srv/internal/stock"
)

// The optional capabilities of a strategy. Set looks for these interfaces, and never for the name of a strategy.

// Worker is a strategy that works in the background.
type Worker interface {
	// Run returns after ctx has ended.
	Run(ctx context.Context)
}

// Prober is a strategy with a readiness check for its own servers.
type Prober interface {
	Probe(ctx context.Context) error
}

// Batcher is a strategy that executes concurrent orders together. They need no database connection each, and a caller
// brings many of them at once.
type Batcher interface {
	Batches()
}

// Gatherer is a strategy that takes the orders of one caller together, without a goroutine for each. They reach one
// transaction if there is room for them.
type Gatherer interface {
	// ReserveAll reserves the orders as stock.Reserver does, and returns their outcomes in their order.
	ReserveAll(ctx context.Context, requests []stock.Request) []stock.Outcome
}

// BatchReserver is a Gatherer that also executes a whole batch for one caller. The comparison measures with it what the
// strategy's statements cost without callers, a queue and answers.
type BatchReserver interface {
	Gatherer
	// FullBatch returns the largest number of lines in one batch.
	FullBatch() int
	// ReserveBatch reserves all orders in one batch, without a queue. It returns the first order's error; the other orders
	// may be reserved.
	ReserveBatch(ctx context.Context, requests []stock.Request) error
}

// HeaderReader is a strategy whose Confirm and Release read the order's header and return *stock.OtherStrategyError for
// an order of another strategy. Set then does not read the header itself.
type HeaderReader interface {
	ReadsHeaders()
}

// Settler is a strategy that answers before the ledger has what it answered.
type Settler interface {
	// Settled returns when the ledger has all that was answered before the call.
	Settled(ctx context.Context) error
	// EndsUnknown reports whether the strategy may have reserved an order that the ledger does not have, and ends such
	// orders.
	EndsUnknown(ctx context.Context) (bool, error)
	// Losses returns the operations that were answered and will never be in the ledger, the newest last.
	Losses(ctx context.Context) ([]stock.Loss, error)
}

// Mover is a strategy whose layout a SKU enters and leaves with its help.
type Mover interface {
	// Open returns when SKUs may enter the layout.
	Open(ctx context.Context) error
	// Drain moves a SKU that leaves the layout to its next one.
	Drain(ctx context.Context, sku string) error
}
