// Package database opens MySQL or MariaDB the way Holdfast needs it and runs transactions by its rules:
//
//   - READ COMMITTED on every connection, asserted and not merely asked for;
//   - after any SQL error a transaction sends nothing but ROLLBACK;
//   - what lost a race for locks is repeated as a whole, until the caller's deadline;
//   - a COMMIT whose answer was lost is settled by looking, and only then called unknown.
//
// It is the only package that knows the server's error numbers.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-sql-driver/mysql"
	gormmysql "gorm.io/driver/mysql"
	"gorm.io/gorm"

	"holdfast/pkg/telemetry"
)

// Options tune [Open]; the zero value is right for a service.
type Options struct {
	MaxOpen int          // connections at most; default 64
	Log     *slog.Logger // for slow queries and the driver's warnings; default: discarded

	LockWait    time.Duration // how long a statement waits for a row lock before 1205, whole seconds; default 2 s
	IdleTimeout time.Duration // until the server ends a silent session and its locks, whole seconds; default 10 s
	IOTimeout   time.Duration // for one read or write on the connection; default 30 s
}

func (o Options) withDefaults() Options {
	if o.MaxOpen == 0 {
		o.MaxOpen = 64
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.LockWait == 0 {
		o.LockWait = 2 * time.Second
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 10 * time.Second
	}
	if o.IOTimeout == 0 {
		o.IOTimeout = 30 * time.Second
	}
	return o
}

const (
	dialTimeout = 3 * time.Second
	poolIdle    = 4 * time.Second // less than the server's patience, or the pool would hand out ended sessions
	poolLife    = 5 * time.Minute // so that connections move to a new primary or balance again
)

// Open connects to dsn (go-sql-driver's form) and checks the connection. Parameters of the DSN that would change what
// our code means (time parsing, time zone, found rows) are overruled. The caller closes the pool with [Close].
// Errors: a text for a malformed DSN, [ErrUnavailable] when the server cannot be reached or refuses us.
func Open(ctx context.Context, dsn string, o Options) (*gorm.DB, error) {
	o = o.withDefaults()
	c, err := newConnector(dsn, o)
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(c)
	pool.SetMaxOpenConns(o.MaxOpen)
	pool.SetMaxIdleConns(o.MaxOpen)
	pool.SetConnMaxIdleTime(poolIdle)
	pool.SetConnMaxLifetime(poolLife)
	if err := pool.PingContext(ctx); err != nil {
		return nil, errors.Join(openFault(c.cfg, err), pool.Close())
	}
	db, err := gorm.Open(
		gormmysql.New(gormmysql.Config{Conn: pool, DSNConfig: c.cfg, SkipInitializeWithVersion: true}),
		&gorm.Config{
			SkipDefaultTransaction: true, // a single statement is atomic without one, in half the round trips
			DisableAutomaticPing:   true,
			Logger:                 telemetry.GormLogger(o.Log),
			NowFunc:                func() time.Time { return time.Now().UTC() },
		})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), pool.Close())
	}
	return db, nil
}

// openFault says which server it was, without the password.
func openFault(cfg *mysql.Config, err error) error {
	where := fmt.Sprintf("%s@%s(%s)/%s", cfg.User, cfg.Net, cfg.Addr, cfg.DBName)
	return ErrUnavailable.WithText("cannot open the database %s", where).Wrap(err).NotExecuted()
}

// Close closes the pool of db.
func Close(db *gorm.DB) error {
	pool, err := db.DB()
	if err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return pool.Close()
}

// Probe returns a readiness check of db: one round trip to the server.
func Probe(db *gorm.DB) func(context.Context) error {
	return func(ctx context.Context) error {
		pool, err := db.DB()
		if err != nil {
			return fmt.Errorf("probe database: %w", err)
		}
		return Fault(pool.PingContext(ctx))
	}
}
