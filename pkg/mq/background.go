package mq

import (
	"context"
	"time"
)

// closeTime is what handlers under way get to finish in when a service stops.
const closeTime = 10 * time.Second

// StartInBackground starts the bus without making the caller wait: it tries until the broker is there, so that a service
// can serve meanwhile, unready, as Probe says. The returned function ends both, waits for handlers for up to 10 s, and
// returns when nothing of the bus runs any more. ctx lends its values; that it ends does not stop the bus, as the last
// requests may still have something to send.
func (b *Bus) StartInBackground(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Start(ctx); err != nil && ctx.Err() == nil {
			b.cfg.Log.ErrorContext(ctx, "message bus does not start", "err", err)
		}
	}()
	return func() error {
		cancel()
		<-done
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		return b.Close(ctx)
	}
}
