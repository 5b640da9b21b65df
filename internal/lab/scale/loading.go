package scale

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"strconv"
)

// bulkSettings are what a server of the laboratory has while a history is loaded. With the 64 MiB of redo log of a
// shop, InnoDB writes each page of a table many times, to make room in the log; and nobody asks for the durability of a
// COMMIT.
func bulkSettings() map[string]int64 {
	return map[string]int64{
		"innodb_redo_log_capacity":       2 << 30, // MySQL
		"innodb_log_file_size":           2 << 30, // MariaDB
		"innodb_buffer_pool_size":        1 << 30,
		"innodb_flush_log_at_trx_commit": 2,
	}
}

// inBulk runs load with bulkSettings, and then gives the server its settings back. A server that does not have one of
// the settings, or cannot change it while it runs, loads more slowly.
func inBulk(ctx context.Context, db *stdsql.DB, load func() error) (err error) {
	before := map[string]int64{}
	for name, value := range bulkSettings() {
		var was string
		if db.QueryRowContext(ctx, "SELECT @@global."+name).Scan(&was) != nil {
			continue
		}
		n, err := strconv.ParseInt(was, 10, 64)
		if err != nil {
			continue
		}
		if _, err := db.ExecContext(ctx, fmt.Sprintf("SET GLOBAL %s = %d", name, value)); err == nil {
			before[name] = n
		}
	}
	defer func() {
		for name, value := range before {
			if _, setErr := db.ExecContext(context.WithoutCancel(ctx), fmt.Sprintf("SET GLOBAL %s = %d", name, value)); setErr != nil {
				err = errors.Join(err, fmt.Errorf("restore %s: %w", name, setErr))
			}
		}
	}()
	return load()
}
