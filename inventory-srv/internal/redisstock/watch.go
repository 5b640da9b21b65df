package redisstock

import (
	"context"
	"time"

	"holdfast/pkg/wait"
)

const (
	// settlePause is how often a replica looks in MySQL for what it was answered. At 25,000 orders a second it remembers 2,500 more
	// meanwhile.
	settlePause = 100 * time.Millisecond
	// watchTimeout is for the questions of one round of Watch to Redis, and for those to MySQL.
	watchTimeout = 10 * time.Second
	// replicaLife is for how long Redis keeps the count of a replica that is not heard of, once meta has more than maxFields fields.
	replicaLife = 24 * time.Hour
	maxFields   = 200
)

// Watch is the part of Run that every replica needs, also one without orders: it notices losses, and without it the replica
// remembers all that it was answered and is Busy in the end.
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

// watchOnce reads which epoch it is, asks Redis whether it has all answers of this replica, and MySQL for their operations.
func (c *Counters) watchOnce(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	if err := c.refresh(asking); err != nil {
		return err
	}
	// The answer does not matter: the script shuts Redis if that has lost something. MySQL is asked also while Redis is away.
	_, _ = c.do(asking, call{script: c.scripts.watch, args: []any{int64(replicaLife.Seconds()), maxFields}})
	return c.settle(ctx)
}
