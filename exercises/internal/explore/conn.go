package explore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-sql-driver/mysql"
)

// fullConn is what the driver's connection can do and we forward.
type fullConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
	driver.NamedValueChecker
}

// conn is a connection of an actor.
type conn struct {
	h     *Handle
	watch *sql.DB
	id    int64
	open  atomic.Bool // a transaction is open

	mu  sync.Mutex // held while raw is used
	raw fullConn
}

var _ fullConn = (*conn)(nil)

// act takes a step on this connection.
func (c *conn) act(ctx context.Context, kind Kind, does string, do func(ctx context.Context) outcome) error {
	return c.h.act(ctx, request{kind: kind, does: does, conn: c, do: func(ctx context.Context) outcome {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.h.isDead() {
			return outcome{err: ErrDied}
		}
		o := do(ctx)
		if o.err != nil {
			o.result, o.failed = errorText(o.err), true
		}
		return o
	}})
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (result driver.Result, err error) {
	err = c.act(ctx, kindOf(query), explain(query, args), func(ctx context.Context) (o outcome) {
		result, o.err = c.raw.ExecContext(ctx, query, args)
		return executed(query, result, plain(o.err))
	})
	return result, err
}

// executed is the outcome of a statement that reads nothing.
func executed(query string, result driver.Result, err error) (o outcome) {
	o.err = err
	if err != nil || kindOf(query) != Write {
		return o
	}
	o.changed, _ = result.RowsAffected() // the driver has it already
	o.result = changedText(o.changed)
	return o
}

func changedText(n int64) string {
	if n == 1 {
		return "1 row changed"
	}
	return fmt.Sprintf("%d rows changed", n)
}

// QueryContext implements driver.QueryerContext. It reads all rows before it returns them: a locking read gets its
// locks, or the error, with the rows.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	var data *rows
	err := c.act(ctx, kindOf(query), explain(query, args), func(ctx context.Context) (o outcome) {
		found, err := c.raw.QueryContext(ctx, query, args)
		if err == nil {
			data, err = readRows(found)
		}
		return queried(data, plain(err))
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

func queried(data *rows, err error) outcome {
	if err != nil {
		return outcome{err: err}
	}
	return outcome{rows: data.named(), result: data.text()}
}

// BeginTx implements driver.ConnBeginTx.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	does := "BEGIN"
	if level := sql.IsolationLevel(opts.Isolation); level != sql.LevelDefault {
		does += " " + strings.ToUpper(level.String())
	}
	var inner driver.Tx
	err := c.act(ctx, Begin, does, func(ctx context.Context) (o outcome) {
		inner, o.err = c.raw.BeginTx(ctx, opts)
		return o
	})
	if err != nil {
		return nil, err
	}
	c.open.Store(true)
	return &tx{c: c, inner: inner, inside: isInside(ctx)}, nil
}

// tx ends a transaction.
type tx struct {
	c      *conn
	inner  driver.Tx
	inside bool // it was begun inside a step, and belongs to it
}

// Commit implements driver.Tx.
func (t *tx) Commit() error { return t.end(Commit, "COMMIT", t.inner.Commit) }

// Rollback implements driver.Tx.
func (t *tx) Rollback() error { return t.end(Rollback, "ROLLBACK", t.inner.Rollback) }

func (t *tx) end(kind Kind, does string, how func() error) error {
	ctx := context.Background() // driver.Tx has no context
	if t.inside {
		ctx = context.WithValue(ctx, insideKey{}, true)
	}
	defer t.c.open.Store(false)
	return t.c.act(ctx, kind, does, func(context.Context) outcome { return outcome{err: how()} })
}

// PrepareContext implements driver.ConnPrepareContext. Preparing is no step.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if c.h.isDead() {
		return nil, ErrDied
	}
	inner, err := c.raw.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &stmt{Stmt: inner, c: c, query: query}, nil
}

// Prepare implements driver.Conn.
func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// Begin implements driver.Conn.
func (c *conn) Begin() (driver.Tx, error) { return c.BeginTx(context.Background(), driver.TxOptions{}) }

// CheckNamedValue implements driver.NamedValueChecker.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error { return c.raw.CheckNamedValue(v) }

// Ping implements driver.Pinger.
func (c *conn) Ping(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw.Ping(ctx)
}

// ResetSession implements driver.SessionResetter. A dead actor's connection is kept: its statements return ErrDied.
func (c *conn) ResetSession(ctx context.Context) error {
	if c.h.isDead() {
		return nil
	}
	return c.raw.ResetSession(ctx)
}

// IsValid implements driver.Validator.
func (c *conn) IsValid() bool { return c.h.isDead() || c.raw.IsValid() }

// Close implements driver.Conn.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw.Close()
}

// abandon closes the connection unless it is in use: then the context of the statement has ended, and closes it.
func (c *conn) abandon() {
	if c.mu.TryLock() {
		defer c.mu.Unlock()
		_ = c.raw.Close()
	}
}

// errNotPlain replaces the driver's wish to prepare the statement instead.
var errNotPlain = errors.New("wrong number of arguments, or a statement that is too long")

// plain returns the error that a step shows and returns.
func plain(err error) error {
	if errors.Is(err, driver.ErrSkip) {
		return errNotPlain
	}
	return err
}

// errorText is how a step shows an error.
func errorText(err error) string {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return fmt.Sprintf("error %d: %s", e.Number, e.Message)
	}
	return "error: " + err.Error()
}
