package redisstock

import (
	"context"
	"time"

	"holdfast/pkg/wait"
)

const (
	// settlePause is the pause between two calls of settle. At 25,000 orders a second the replica remembers 2,500 more
	// meanwhile.
	settlePause = 100 * time.Millisecond
	// watchTimeout bounds one round of Watch, in Redis and in MySQL.
	watchTimeout = 10 * time.Second
	// replicaLife is how long Redis keeps the count of a silent replica once meta has more than maxFields fields.
	replicaLife = 24 * time.Hour
	maxFields   = 200
)

// Watch is the part of Run that every replica needs: it notices losses, and it removes what MySQL has from the
// operations that the replica remembers.
func (c *Counters) Watch(ctx context.Context) {
	var polled time.Time
	for wait.Sleep(ctx, settlePause) == nil {
		if epoch, _ := c.state(); epoch == 0 {
			continue
		}
		var err error
		if time.Since(polled) > pollInterval {
			err = c.watchOnce(ctx)
			polled = time.Now()
		} else if c.remembers() > 0 {
			err = c.settle(ctx)
		}
		if err != nil && ctx.Err() == nil {
			c.cfg.Log.WarnContext(ctx, "stock in Redis not watched", "err", err)
			_ = wait.Sleep(ctx, pollInterval)
		}
	}
}

// watchOnce reads the epoch, has Redis check that it has all answers of this replica, and calls settle.
func (c *Counters) watchOnce(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	if err := c.refresh(asking); err != nil {
		return err
	}
	// The answer does not matter: the script shuts Redis after a loss. settle runs also while Redis does not answer.
	_, _ = c.do(asking, call{script: c.scripts.watch, args: []any{int64(replicaLife.Seconds()), maxFields}})
	return c.settle(ctx)
}
