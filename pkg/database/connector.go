package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// connector prepares every new connection of a pool, after a reconnect as well as at the start: the settings belong to
// the session and would be the server's defaults again.
type connector struct {
	inner driver.Connector
	cfg   *mysql.Config
	o     Options
}

var _ driver.Connector = (*connector)(nil)

func newConnector(dsn string, o Options) (*connector, error) {
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("database address (user:password@tcp(host:port)/database): %w", err)
	}
	cfg.ParseTime, cfg.Loc = true, time.UTC
	cfg.InterpolateParams = true // one round trip for a statement instead of three
	cfg.ClientFoundRows = false  // RowsAffected decides conditional updates: it must count changes, not matches
	cfg.MultiStatements = false
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = dialTimeout, o.IOTimeout, o.IOTimeout
	cfg.Logger = driverLog{o.Log}
	if err := cfg.Apply(mysql.Charset("utf8mb4", "")); err != nil {
		return nil, fmt.Errorf("database address: %w", err)
	}
	inner, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("database address: %w", err)
	}
	return &connector{inner: inner, cfg: cfg, o: o}, nil
}

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := c.inner.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := raw.(fullConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the driver's connection %T lacks methods we forward", raw), raw.Close())
	}
	if err := c.prepare(ctx, full); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return &conn{fullConn: full}, nil
}

// Driver implements driver.Connector. It gives the connector back, so that [Migrate] and the exercises can open pools
// of their own.
func (c *connector) Driver() driver.Driver { return connectorDriver{c} }

func (c *connector) prepare(ctx context.Context, db fullConn) error {
	for _, statement := range []string{
		fmt.Sprintf("SET SESSION innodb_lock_wait_timeout = %d, SESSION wait_timeout = %d", seconds(c.o.LockWait), seconds(c.o.IdleTimeout)),
		"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
	} {
		if _, err := db.ExecContext(ctx, statement, nil); err != nil {
			return fmt.Errorf("prepare connection: %w", err)
		}
	}
	level, err := isolation(ctx, db)
	if err != nil {
		return fmt.Errorf("read isolation level: %w", err)
	}
	if level != "READ-COMMITTED" {
		return fmt.Errorf("the connection's isolation level is %s although READ COMMITTED was set", level)
	}
	return nil
}

// seconds rounds up: the server knows whole seconds only, and 0 would mean no waiting at all.
func seconds(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }

// isolation reads the session's level. MySQL calls the variable transaction_isolation; MariaDB did not before 11.1.
func isolation(ctx context.Context, db fullConn) (string, error) {
	level, err := queryString(ctx, db, "SELECT @@SESSION.transaction_isolation")
	if isNumber(err, unknownVariable) {
		level, err = queryString(ctx, db, "SELECT @@SESSION.tx_isolation")
	}
	return level, err
}

func queryString(ctx context.Context, db fullConn, query string) (string, error) {
	rows, err := db.QueryContext(ctx, query, nil)
	if err != nil {
		return "", err
	}
	dest := make([]driver.Value, 1)
	if err := rows.Next(dest); err != nil && !errors.Is(err, io.EOF) {
		return "", errors.Join(err, rows.Close())
	}
	var text string
	switch value := dest[0].(type) {
	case string:
		text = value
	case []byte:
		text = string(value) // a copy: the driver's buffer is used again
	}
	return text, rows.Close()
}

// connectorDriver carries a connector where only a driver.Driver can be asked for.
type connectorDriver struct{ connector *connector }

var _ driver.DriverContext = connectorDriver{}

// OpenConnector implements driver.DriverContext. Whatever the name, its connections are prepared as those of the pool
// that the driver was taken from.
func (d connectorDriver) OpenConnector(string) (driver.Connector, error) { return d.connector, nil }

// Open implements driver.Driver. It is never used: pools are made from connectors.
func (connectorDriver) Open(string) (driver.Conn, error) {
	return nil, errors.New("open a pool with database.Open")
}

// driverLog is the driver's logger on ours. It reports connections that were lost, which the pool replaces.
type driverLog struct{ log *slog.Logger }

// Print implements mysql.Logger.
func (l driverLog) Print(v ...any) {
	l.log.Warn("database connection", "text", strings.TrimSpace(fmt.Sprintln(v...)))
}
