package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"holdfast/pkg/wait"
)

// settleTimeout bounds the search for the outcome of a COMMIT. It is more than one lock wait (2 s): the old session may
// still be committing.
const settleTimeout = 5 * time.Second

// settle finds out the outcome of a COMMIT whose answer was lost. It returns nil for a committed transaction,
// errRolledBack for one that was not, and ErrCommitUnknown when it cannot find out.
func settle(ctx context.Context, pool *sql.DB, o txOptions, cause error) error {
	if o.settle == "" {
		return ErrCommitUnknown.Wrap(cause)
	}
	// The caller's deadline may have passed, and the outcome still matters: the search has a deadline of its own.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	backoff := wait.Backoff{First: firstBackoff, Max: lastBackoff}
	there := false
	err := backoff.Retry(ctx, func(ctx context.Context) (again bool, err error) {
		there, err = exists(ctx, pool, o.settle, o.args)
		return IsRetryable(err) || isLost(err) || isRefused(err), err
	})
	switch {
	case err != nil:
		return ErrCommitUnknown.Wrap(errors.Join(cause, err))
	case !there:
		return fmt.Errorf("%w: %w", errRolledBack, cause)
	}
	return nil
}

// exists runs the query outside of a transaction: the row is unlocked when exists returns.
func exists(ctx context.Context, pool *sql.DB, query string, args []any) (there bool, err error) {
	rows, err := pool.QueryContext(ctx, query, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close() //nolint:errcheck // Err says what went wrong
	there = rows.Next()
	return there, rows.Err()
}
