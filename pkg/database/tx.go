package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"holdfast/pkg/wait"
)

const (
	firstBackoff = 8 * time.Millisecond
	lastBackoff  = 250 * time.Millisecond
	// triesWithoutDeadline bounds the attempts when ctx has no deadline.
	triesWithoutDeadline = 10
)

// TxOption is an option of [InTx].
type TxOption func(*txOptions)

type txOptions struct {
	sql    sql.TxOptions
	settle string // the query; empty: none
	args   []any

	returnLockWait bool
}

// SettleBy is how [InTx] finds out whether a transaction was committed when the answer to its COMMIT was lost. query is
// a SELECT … FOR UPDATE by key of a row that only this transaction can have written. While the old session exists, the
// query waits for its lock; then the row exists or it does not. Default: the outcome stays unknown.
func SettleBy(query string, args ...any) TxOption {
	return func(o *txOptions) { o.settle, o.args = query, args }
}

// Snapshot makes the transaction read only, in one consistent snapshot that its first read takes (REPEATABLE READ).
// Default: READ COMMITTED, in which each statement sees what is committed when it starts.
func Snapshot() TxOption {
	return func(o *txOptions) { o.sql = sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true} }
}

// ReadUncommitted makes the transaction read only, and it sees what other transactions have written and not committed.
// Default: READ COMMITTED.
func ReadUncommitted() TxOption {
	return func(o *txOptions) { o.sql = sql.TxOptions{Isolation: sql.LevelReadUncommitted, ReadOnly: true} }
}

// ReturnLockWait makes [InTx] return the first lock wait that runs out, as [ErrContended]; [IsLockWait] reports it.
// Default: the transaction is repeated, as after a deadlock.
func ReturnLockWait() TxOption {
	return func(o *txOptions) { o.returnLockWait = true }
}

// InTx runs fn in a transaction and commits it when fn returns nil. fn may run several times, each time in a new
// transaction after the previous one was rolled back: outside the transaction it must change only what can be changed
// twice. It must use only the tx that it gets, in its own goroutine, and not after it returns.
//
// Any error, of fn or of a statement even if fn ignores it, leads to ROLLBACK. InTx repeats the transaction after a
// deadlock, a lock wait timeout or a lost connection, until ctx's deadline, or 10 times when ctx has none. A panic of
// fn rolls back and continues.
//
// Errors: fn's own; [ErrContended] when the transaction lost every race; [ErrUnavailable]; fault.ErrTimeout or
// fault.ErrCanceled when ctx ended. After all of these nothing was executed. Only after [ErrCommitUnknown] the
// transaction may have been committed.
func InTx(ctx context.Context, db *gorm.DB, fn func(tx *gorm.DB) error, opts ...TxOption) error {
	var o txOptions
	for _, opt := range opts {
		opt(&o)
	}
	pool, err := db.DB()
	if err != nil {
		return fmt.Errorf("begin: %w (is this a transaction already?)", err)
	}
	backoff := wait.Backoff{First: firstBackoff, Max: lastBackoff}
	var lost error // the last lost race; it explains a deadline that ends the next attempt
	for try := 1; ; try++ {
		err := runOnce(ctx, db, pool, fn, o)
		if err == nil || errors.Is(err, ErrCommitUnknown) {
			return err
		}
		if o.returnLockWait && IsLockWait(err) {
			return ErrContended.Wrap(err)
		}
		if lost != nil && isContext(err) && ctx.Err() != nil {
			return ErrContended.Wrap(errors.Join(lost, err))
		}
		if !repeatable(err) {
			return notExecuted(err)
		}
		lost = err
		if _, bounded := ctx.Deadline(); !bounded && try == triesWithoutDeadline {
			return givenUp(lost)
		}
		if err := backoff.Sleep(ctx, try); err != nil {
			return givenUp(errors.Join(lost, err))
		}
	}
}

// repeatable reports an error after which nothing was committed and another attempt may succeed. A server that cannot
// be reached is not one of these.
func repeatable(err error) bool {
	return IsRetryable(err) || errors.Is(err, errRolledBack) || isLost(err) && !isRefused(err)
}

// givenUp is the error after the last attempt: a lost race, or a connection that breaks each time.
func givenUp(err error) error {
	if !IsRetryable(err) && !errors.Is(err, errRolledBack) {
		return notExecuted(ErrUnavailable.Wrap(err))
	}
	return ErrContended.Wrap(err)
}

// runOnce runs one transaction. After any error except ErrCommitUnknown nothing was committed.
func runOnce(ctx context.Context, db *gorm.DB, pool *sql.DB, fn func(tx *gorm.DB) error, o txOptions) error {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // gives the connection back; a broken one was reported by what broke
	// The pool gets a context that never ends: it would otherwise roll back behind our back, and InTx would return
	// before the locks are gone. Statements still end with ctx.
	r := &record{caller: ctx}
	tx, err := conn.BeginTx(context.WithValue(context.WithoutCancel(ctx), recordKey{}, r), &o.sql)
	if err != nil {
		return err
	}
	open := true
	defer func() {
		if open { // also when fn panics or ends its goroutine
			_ = tx.Rollback() // when it fails, the connection is closed, and the server rolls back
		}
	}()
	session := db.Session(&gorm.Session{NewDB: true, Context: ctx})
	session.Statement.ConnPool = statements{tx}
	if err := fn(session); err != nil {
		if IsRetryable(r.failed) || isLost(r.failed) { // fn may have put its own words in its place
			return r.failed
		}
		return err
	}
	if err := ctx.Err(); err != nil && r.failed == nil {
		return err // the caller has gone: committing could only surprise
	}
	open = false
	err = tx.Commit()
	switch {
	case r.failed != nil: // fn ignored it; Commit has rolled back
		return r.failed
	case err == nil || !r.commitSent || IsRetryable(err) || o.sql.ReadOnly: // what only read has nothing to settle
		return err
	}
	discard(conn)
	return settle(ctx, pool, o, err)
}

// discard closes a connection instead of giving it back to the pool. Its place is then free for the connection that
// settles the COMMIT: a pool may have only one. The server ends the session, so what the session had not committed is
// rolled back and cannot be seen as if it were committed.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // by this error the pool closes it
}

// statements are those of a transaction, or of a branch's connection, without the methods that would end it: these are
// the caller's alone.
type statements struct{ gorm.ConnPool }

// Exec runs one statement in a transaction of its own, which is repeated when it loses a race, and returns how many
// rows it changed. Errors are those of InTx.
func Exec(ctx context.Context, db *gorm.DB, query string, args ...any) (affected int64, err error) {
	err = InTx(ctx, db, func(tx *gorm.DB) error {
		res := tx.Exec(query, args...)
		affected = res.RowsAffected
		return res.Error
	})
	return affected, err
}
