package flawed

import (
	"context"
	"time"

	"holdfast/inventory-srv/internal/stock"
)

// endlessRenewal has a watchdog that renews the lock for as long as the process runs.
//
// Fault:    the watchdog checks the process and not the work.
// Seen:     in watchdogs written from the description of a library, without the library's limit: a loop that renews
// every third of the expiry and ends with the unlock.
// Goes:     A locks and hangs in a statement or a call without a deadline. Its watchdog runs on and renews. No order
// for this SKU is served until A is restarted.
// Fixed by: redis-lock: renewal ends after MaxHold, the context of the work ends with the lease, and the fence refuses
// later writes.
type endlessRenewal struct{ deps Deps }

func newEndlessRenewal(d Deps) Reserver { return &endlessRenewal{d} }

// Reserve implements Reserver, for orders of one line.
func (f *endlessRenewal) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	l := f.deps.handLock(r.Lines[0].SKU)
	l.TTL = watchdogTTL
	if err := l.Lock(ctx); err != nil {
		return stock.Receipt{}, stock.ErrContended.Wrap(err)
	}
	stop := l.Watch(context.WithoutCancel(ctx), nil)
	defer func() {
		stop()
		_, _ = l.Unlock(ctx)
	}()
	return f.deps.Ledger.Reserve(context.WithoutCancel(ctx), r, readTakeSave) // no deadline, as the lock has none
}

// watchdogTTL leaves time for two failed renewals on a busy machine.
const watchdogTTL = 2 * time.Second
