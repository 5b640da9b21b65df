package strategy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/fault"
	"holdfast/pkg/lock"
)

// leased is common to the strategies with a lock outside of the database: they wait for a lease, work under it, and
// release it after the commit.
type leased struct {
	log  *slog.Logger
	lost prometheus.Counter
}

// errAgain means that the attempt needs a new lease.
var errAgain = errors.New("the lease has ended")

// reserve calls attempt with a lease on all SKUs of the order, and again with a new one for as long as an attempt ends
// with errAgain or is cut by the end of its lease.
func (l leased) reserve(ctx context.Context, locker Acquirer, r stock.Request,
	attempt func(work context.Context, lease *lock.Lease) (stock.Receipt, error),
) (stock.Receipt, error) {
	for {
		receipt, err := l.once(ctx, locker, r, attempt)
		if !errors.Is(err, errAgain) {
			return receipt, err
		}
		if ctx.Err() != nil {
			return stock.Receipt{}, stock.ErrContended.Wrap(err)
		}
	}
}

func (l leased) once(ctx context.Context, locker Acquirer, r stock.Request,
	attempt func(work context.Context, lease *lock.Lease) (stock.Receipt, error),
) (stock.Receipt, error) {
	lease, err := locker.Acquire(ctx, lockKeys(r)...)
	if err != nil {
		return stock.Receipt{}, notLocked(ctx, err, errRedis)
	}
	// After the commit and on every way out; Release has a live context of its own.
	defer l.release(ctx, lease)
	// It ends with ctx or with the lease, whichever is first.
	work := lease.Context()
	receipt, err := attempt(work, lease) //nolint:contextcheck // the lease derives its context from ctx
	// An outcome that the database settled, either way, stands: a lease that ended after COMMIT has done no harm.
	if cut := work.Err() != nil && ctx.Err() == nil; cut && err != nil && !fault.Ambiguous(err) && !definite(err) {
		l.lost.Inc()
		cause := context.Cause(work) //nolint:contextcheck // as above
		l.log.WarnContext(ctx, "lease lost while reserving", "order_no", r.OrderNo, "cause", cause)
		return stock.Receipt{}, fmt.Errorf("%w: %w", errAgain, cause)
	}
	return receipt, err
}

// definite reports whether err is a decision of the database, and not the end of a transaction that was cut.
func definite(err error) bool {
	if errors.Is(err, errAgain) {
		return true
	}
	switch fault.KindOf(err) {
	case fault.Contended, fault.Timeout, fault.Unavailable:
		return false
	}
	return true
}

// release releases the lease. If Redis does not answer, the key lives until its TTL has passed, and the next order
// waits.
func (l leased) release(ctx context.Context, lease *lock.Lease) {
	if err := lease.Release(ctx); err != nil {
		l.log.WarnContext(ctx, "lease not released, it ends by itself", "err", err)
	}
}

// errRedis is a lock service without an answer. Nothing was executed.
var errRedis = fault.New(fault.Unavailable, "redis_unavailable", "the lock service does not answer").NotExecuted()

// notLocked explains why an order has no lock: a wait that ran out is contention, the caller's own cancellation stays
// that, contention that the server reports stays that, and everything else is unavailable.
func notLocked(ctx context.Context, err error, unavailable *fault.Error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		return stock.ErrContended.Wrap(err)
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return fault.ErrCanceled.NotExecuted().Wrap(err)
	case errors.Is(err, stock.ErrContended):
		return err
	}
	return unavailable.NotExecuted().Wrap(err)
}

// LockKey is the lock of a SKU.
func LockKey(sku string) string { return "stock:" + sku }

func lockKeys(r stock.Request) []string {
	keys := make([]string, len(r.Lines))
	for i, l := range r.Lines {
		keys[i] = LockKey(l.SKU)
	}
	return keys
}
