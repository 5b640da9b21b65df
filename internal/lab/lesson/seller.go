package lesson

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"time"

	"holdfast/pkg/database"
	"holdfast/pkg/lock"
)

// seller is a process that sells one unit in a transaction under a lease. It executes one statement for each order, so
// that the lesson can freeze it between any two statements. It never checks its lease: a process that is frozen
// directly after the check would behave the same.
type seller struct {
	locker *lock.Redis
	conn   *stdsql.Conn

	lease *lock.Lease
	tx    *stdsql.Tx
	read  int64
}

// The seller's statements. The write is of an absolute value, as an ORM's Save sends it.
const (
	claimRow    = "UPDATE stock SET fence = ? WHERE sku = ? AND fence < ?"
	readRow     = "SELECT available FROM stock WHERE sku = ?"
	writeRow    = "UPDATE stock SET available = ?, version = version + 1 WHERE sku = ?"
	writeFenced = "UPDATE stock SET available = ?, fence = ? WHERE sku = ? AND fence <= ?"
)

// statementOf returns the statement of an order, or "".
func statementOf(order string) string {
	return map[string]string{"claim": claimRow, "read": readRow, "write": writeRow, "write-fenced": writeFenced}[order]
}

// leaseTTL is how long the lock of a frozen seller blocks the others.
const leaseTTL = 400 * time.Millisecond

// runSeller is a role. Args: Redis address, lock prefix, database DSN, TTL, how long a statement waits for a row lock.
// It reports the number of its connection.
func runSeller(ctx context.Context, c *Child) (err error) {
	ttl, err := time.ParseDuration(c.Args[3])
	if err != nil {
		return err
	}
	wait, err := time.ParseDuration(c.Args[4])
	if err != nil {
		return err
	}
	locker, closing, err := newLocker(c.Args[0], c.Args[1], lock.WithTTL(ttl), lock.WithMaxHold(ttl+wait))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	db, err := database.Open(ctx, c.Args[2], database.Options{LockWait: wait, IdleTimeout: 2 * wait, IOTimeout: 2 * wait})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close(db)) }()
	pool, err := db.DB()
	if err != nil {
		return err
	}
	s := &seller{locker: locker}
	if s.conn, err = pool.Conn(ctx); err != nil {
		return err
	}
	defer s.conn.Close() //nolint:errcheck // gives the connection back
	var id int64
	if err := s.conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id); err != nil {
		return err
	}
	c.Report("ready %d", id)
	for {
		order, err := c.Order(ctx)
		if err != nil {
			return nil // the lesson has ended
		}
		answer, err := s.execute(ctx, order)
		if err != nil {
			return fmt.Errorf("%s: %w", order, err)
		}
		c.Report("%s %d", order, answer)
	}
}

// execute executes one order and returns its number: a token, units or changed rows.
func (s *seller) execute(ctx context.Context, order string) (n int64, err error) {
	switch order {
	case "lock": // the token
		if s.lease, err = s.locker.Acquire(ctx, sku); err != nil {
			return 0, err
		}
		s.tx, err = s.conn.BeginTx(ctx, nil)
		return s.lease.Token(sku), err
	case "claim": // rows
		token := s.lease.Token(sku)
		return affected(s.tx.ExecContext(ctx, claimRow, token, sku, token))
	case "read": // units
		err = s.tx.QueryRowContext(ctx, readRow, sku).Scan(&s.read)
		return s.read, err
	case "write": // units written
		_, err = affected(s.tx.ExecContext(ctx, writeRow, s.read-1, sku))
		return s.read - 1, err
	case "write-fenced": // rows
		token := s.lease.Token(sku)
		return affected(s.tx.ExecContext(ctx, writeFenced, s.read-1, token, sku, token))
	case "commit": // 1 if the lease was held until the end
		return s.end(ctx, s.tx.Commit())
	case "rollback":
		return s.end(ctx, s.tx.Rollback())
	}
	return 0, errors.New("unknown order")
}

// end releases the lock.
func (s *seller) end(ctx context.Context, ended error) (int64, error) {
	if ended != nil {
		return 0, ended
	}
	err := s.lease.Release(ctx)
	if errors.Is(err, lock.ErrLost) {
		return 0, nil
	}
	return 1, err
}
