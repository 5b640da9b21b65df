package flawed

import (
	"context"
	"sync"
	"time"

	"holdfast/inventory-srv/internal/stock"
)

// endlessRenewal has a watchdog that renews the lock for as long as the process lives.
//
// Fault:    the watchdog looks at the process, not at the work.
// Seen:     in watchdogs that are copied from a library's description without its limit: renewal every third of the expiry, in a
// loop that ends with the unlock.
// Goes:     A locks and hangs in a statement or a call that has no deadline. The watchdog is well and renews. Nobody sells this
// SKU until somebody restarts A.
// Fixed by: redis-lock: renewal ends after MaxHold, the work is cut with the lease, and the fence refuses what comes after.
type endlessRenewal struct{ deps Deps }

func newEndlessRenewal(d Deps) Reserver { return &endlessRenewal{d} }

// Reserve implements Reserver. It knows orders of one line.
func (f *endlessRenewal) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	l, sku := f.deps.handLock(), r.Lines[0].SKU
	l.ttl = watchdogTTL
	if err := l.lock(ctx, sku); err != nil {
		return stock.Receipt{}, stock.ErrContended.Wrap(err)
	}
	stop := f.watch(context.WithoutCancel(ctx), l, sku)
	defer func() {
		stop()
		_ = l.unlock(ctx, sku)
	}()
	return f.deps.Ledger.Reserve(context.WithoutCancel(ctx), r, readTakeSave) // no deadline: the lock does not end either
}

// watchdogTTL leaves the watchdog two thirds of it on a busy machine.
const watchdogTTL = 2 * time.Second

// watch renews until stop is called, which waits for it.
func (f *endlessRenewal) watch(ctx context.Context, l handLock, sku string) (stop func()) {
	done := make(chan struct{})
	var watchdog sync.WaitGroup
	watchdog.Go(func() {
		tick := time.NewTicker(l.ttl / 3)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				_ = l.client.PExpire(ctx, l.key(sku), l.ttl).Err() // the next tick tries again
			}
		}
	})
	return func() {
		close(done)
		watchdog.Wait()
	}
}
