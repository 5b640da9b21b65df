package redisstock

import (
	"context"
)

// Before is before, for its test.
func Before(a, b string) bool { return before(a, b) }

// Receive is receive for the reserve of an order, for tests without Redis.
func (c *Counters) Receive(epoch int64, orderNo, entryID, lines string) error {
	return c.receive(epoch, call{operation: EntryReserve, orderNo: orderNo}, []string{verdictOK, "1", entryID, lines})
}

// Settle is settle, which Watch calls.
func (c *Counters) Settle(ctx context.Context) error { return c.settle(ctx) }

// Remembers is remembers.
func (c *Counters) Remembers() int { return c.remembers() }
