package main

import (
	"context"
	"log/slog"
	"time"

	"gorm.io/gorm"

	"holdfast/pkg/database"
)

const (
	// flushLockWait is how long a flush of group-commit waits for a row that another session has locked. It is less
	// than an attempt of order-srv to reserve (1.5 s), so that the orders for other rows are served within it.
	flushLockWait = time.Second
	// flushConnections is one for each of group-commit's six batchers, and two to spare for those that are replaced.
	flushConnections = 8
)

// openFlushPool opens the connections of group-commit's flushes. The caller closes it.
func openFlushPool(ctx context.Context, cfg settings, log *slog.Logger) (*gorm.DB, error) {
	return database.Open(ctx, cfg.MySQLDSN.Reveal(), database.Options{Log: log, MaxOpen: flushConnections, LockWait: flushLockWait})
}
