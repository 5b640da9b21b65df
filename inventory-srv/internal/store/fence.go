package store

import (
	"context"
	"fmt"

	"holdfast/pkg/database"
)

// NewestFence returns the newest fencing token of all rows: of stock, and of the writer that follows the Redis stream.
// All tokens come from one counter, so a counter that Redis has lost is raised to this value.
func (l *Ledger) NewestFence(ctx context.Context) (int64, error) {
	var fence int64
	err := l.db.WithContext(ctx).Raw(`SELECT GREATEST(
		COALESCE((SELECT MAX(fence) FROM stock), 0),
		COALESCE((SELECT MAX(fence) FROM redis_stream), 0))`).Scan(&fence).Error
	if err != nil {
		return 0, database.Fault(fmt.Errorf("read the newest fencing token: %w", err))
	}
	return fence, nil
}
