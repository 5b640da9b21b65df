package mq

import (
	"context"
	"time"
)

// closeTime is what handlers under way get to finish in when a service stops.
const closeTime = 10 * time.Second

// startPatience is how long StartInBackground waits: a start takes a tenth of it when the broker is there.
const startPatience = 2 * time.Second

// StartInBackground starts the bus and waits a moment for it: a service that serves before it can send has to refuse.
// It goes on trying until the broker is there, so that the service can serve meanwhile, unready, as Probe says. The
// returned function ends both, waits for handlers for up to 10 s, and returns when nothing of the bus runs any more.
// ctx lends its values; that it ends does not stop the bus, as the last requests may still have something to send.
func (b *Bus) StartInBackground(ctx context.Context) (stop func() error) {
	ended := ctx.Done()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Start(ctx); err != nil && ctx.Err() == nil {
			b.cfg.Log.ErrorContext(ctx, "message bus does not start", "err", err)
		}
	}()
	select {
	case <-done:
	case <-ended:
	case <-time.After(startPatience):
	}
	return func() error {
		cancel()
		<-done
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		return b.Close(ctx)
	}
}
