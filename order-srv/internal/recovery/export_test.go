package recovery

import (
	"context"
	"time"

	"holdfast/pkg/mq"
)

// CheckAt is Check at another time.
func (c *CheckBack) CheckAt(m mq.Message, now time.Time) mq.TxState { return c.check(m, now) }

// ReadNext is what Run does after a question.
func (c *CheckBack) ReadNext(ctx context.Context) (more bool) { return c.readNext(ctx) }

// Sweep is what Run does every second.
func (c *CheckBack) Sweep(now time.Time) { c.sweep(now) }
