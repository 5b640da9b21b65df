package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// commitGrace is added to the caller's deadline for COMMIT. Without it a deadline that passes during COMMIT makes the
	// outcome unknown, although the answer arrives a millisecond later.
	commitGrace = time.Second
	// commitTimeout bounds COMMIT for a caller without a deadline.
	commitTimeout = 10 * time.Second
	// rollbackTimeout bounds ROLLBACK. When it does not help, the connection is closed, and the server rolls back.
	rollbackTimeout = time.Second
)

// record is what the connection learns about one transaction of [InTx]; it travels down in the context of BeginTx. One
// goroutine uses it, as a transaction is for one goroutine.
type record struct {
	failed     error           // the first error of a statement
	commitSent bool            // COMMIT may have reached the server
	caller     context.Context //nolint:containedctx // the connection needs the caller's deadline, the pool must not see it
}

type recordKey struct{}

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

// conn enforces, below gorm and whatever the function given to [InTx] does with errors, that after an error a
// transaction sends nothing but ROLLBACK. It is done here because only the driver's layer sees every error: that of a
// locking SELECT arrives with the rows, not with the query.
type conn struct {
	fullConn
	tx *record // nil outside of InTx
}

var _ fullConn = (*conn)(nil)

var (
	errNotPlain = errors.New("the statement cannot be sent as plain text: wrong number of parameters, or too long")
	errNested   = errors.New("a transaction is open on this connection")
)

// Close implements driver.Conn. A connection that cannot say goodbye any more is closed all the same.
func (c *conn) Close() error {
	_ = c.fullConn.Close()
	return nil
}

// BeginTx implements driver.ConnBeginTx.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	r, ours := ctx.Value(recordKey{}).(*record)
	if !ours {
		return c.fullConn.BeginTx(ctx, opts)
	}
	if c.tx != nil {
		return nil, errNested
	}
	_, err := c.fullConn.BeginTx(r.caller, opts) //nolint:contextcheck // the caller's own: ctx is the pool's, which never ends
	if err != nil {
		return nil, err
	}
	c.tx = r
	return &transaction{c: c, r: r}, nil
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.refuse(); err != nil {
		return nil, err
	}
	result, err := c.fullConn.ExecContext(ctx, query, args)
	return result, c.note(err)
}

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.refuse(); err != nil {
		return nil, err
	}
	rows, err := c.fullConn.QueryContext(ctx, query, args)
	if err != nil {
		return nil, c.note(err)
	}
	if full, ok := rows.(fullRows); ok && c.tx != nil {
		return &notedRows{fullRows: full, c: c}, nil
	}
	return rows, nil
}

// PrepareContext implements driver.ConnPrepareContext. In a transaction it only ever follows a statement that could not
// be sent as text; a prepared statement would escape the rule.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if c.tx != nil {
		return nil, c.note(errNotPlain)
	}
	return c.fullConn.PrepareContext(ctx, query)
}

// refuse returns an error when the transaction has failed already.
func (c *conn) refuse() error {
	if c.tx == nil || c.tx.failed == nil {
		return nil
	}
	return fmt.Errorf("the transaction has failed before: %w", c.tx.failed)
}

// note remembers the transaction's first error.
func (c *conn) note(err error) error {
	if err != nil && c.tx != nil && c.tx.failed == nil && !errors.Is(err, driver.ErrSkip) {
		c.tx.failed = err
	}
	return err
}

// fullRows is what the driver's rows can do and we forward.
type fullRows interface {
	driver.RowsNextResultSet
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeNullable
	driver.RowsColumnTypePrecisionScale
	driver.RowsColumnTypeScanType
}

type notedRows struct {
	fullRows
	c *conn
}

// Next implements driver.Rows.
func (r *notedRows) Next(dest []driver.Value) error {
	err := r.fullRows.Next(dest)
	if errors.Is(err, io.EOF) {
		return err
	}
	return r.c.note(err)
}

// transaction ends a transaction of InTx.
type transaction struct {
	c *conn
	r *record
}

// Commit implements driver.Tx. A transaction in which a statement failed is rolled back instead, whether or not that
// error was heeded: after 1205 a commit would keep the half that was done.
func (t *transaction) Commit() error {
	if err := t.c.refuse(); err != nil {
		return errors.Join(err, t.Rollback())
	}
	t.c.tx = nil
	ctx, cancel := commitContext(t.r.caller)
	defer cancel()
	_, err := t.c.fullConn.ExecContext(ctx, "COMMIT", nil)
	t.r.commitSent = !errors.Is(err, driver.ErrBadConn) // which promises that nothing was written
	return err
}

// Rollback implements driver.Tx.
func (t *transaction) Rollback() error {
	t.c.tx = nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.r.caller), rollbackTimeout)
	defer cancel()
	_, err := t.c.fullConn.ExecContext(ctx, "ROLLBACK", nil)
	return err
}

func commitContext(caller context.Context) (context.Context, context.CancelFunc) {
	free := context.WithoutCancel(caller)
	if deadline, ok := caller.Deadline(); ok {
		return context.WithDeadline(free, deadline.Add(commitGrace))
	}
	return context.WithTimeout(free, commitTimeout)
}
