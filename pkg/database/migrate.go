package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"gorm.io/gorm"
)

const (
	// migrationIdle is the session timeout of a migrating connection, which waits in silence while another replica
	// migrates.
	migrationIdle = 10 * time.Minute
	// migrationLockWait is how long a statement of a migration waits for a row lock. MariaDB counts ALTER TABLE behind a
	// prepared branch as such a wait. A statement that gives up leaves half of the migration.
	migrationLockWait = 10 * time.Minute
	// lockPoll and lockPolls: how often and how many times a waiting replica looks whether it is its turn (5 minutes).
	lockPoll  = 100 * time.Millisecond
	lockPolls = 3000
)

// Migrate brings the schema to the newest version of fsys (goose migrations, NNNN_name.sql in its root). Replicas may
// call it at the same time: one migrates, the others wait and find nothing to do. If that one dies, another takes over
// after 30 seconds.
func Migrate(ctx context.Context, db *gorm.DB, fsys fs.FS, log *slog.Logger) error {
	return migrate(ctx, db, fsys, log, func(context.Context, *goose.Provider) error { return nil })
}

// migrate migrates after before has returned nil.
func migrate(ctx context.Context, db *gorm.DB, fsys fs.FS, log *slog.Logger, before func(context.Context, *goose.Provider) error) (err error) {
	pool, err := migrationPool(db)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	locker, err := lock.NewMySQLTableLocker(lock.WithTableLockTimeout(lockPoll, lockPolls), lock.WithTableLogger(log))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectMySQL, pool, fsys, goose.WithLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := before(ctx, provider); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", Fault(err))
	}
	for _, r := range results {
		log.InfoContext(ctx, "migrated", "version", r.Source.Version, "path", r.Source.Path, "took", r.Duration)
	}
	return nil
}

// migrationPool is a second pool on the same server, with longer timeouts.
func migrationPool(db *gorm.DB) (*sql.DB, error) {
	pool, err := db.DB()
	if err != nil {
		return nil, err
	}
	d, ok := pool.Driver().(connectorDriver)
	if !ok {
		return nil, fmt.Errorf("the pool was not opened with database.Open but with %T", pool.Driver())
	}
	c := *d.connector
	c.o.IdleTimeout, c.o.LockWait = migrationIdle, migrationLockWait
	return sql.OpenDB(&c), nil
}
