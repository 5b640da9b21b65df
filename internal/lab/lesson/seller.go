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
	db     *stdsql.DB

	lease *lock.Lease
	tx    *stdsql.Tx
	read  int64
}

// leaseTTL is how long the lock of a frozen seller blocks the others.
const leaseTTL = 400 * time.Millisecond

// runSeller is a role. Args: Redis address, lock prefix, database DSN.
func runSeller(ctx context.Context, c *Child) (err error) {
	locker, closing, err := newLocker(c.Args[0], c.Args[1], lock.WithTTL(leaseTTL))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	db, err := database.Open(ctx, c.Args[2], database.Options{LockWait: lockWait, IdleTimeout: 2 * lockWait})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close(db)) }()
	pool, err := db.DB()
	if err != nil {
		return err
	}
	s := &seller{locker: locker, db: pool}
	c.Report("ready")
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
		s.tx, err = s.db.BeginTx(ctx, nil)
		return s.lease.Token(sku), err
	case "claim": // rows
		token := s.lease.Token(sku)
		return affected(s.tx.ExecContext(ctx, "UPDATE stock SET fence = ? WHERE sku = ? AND fence < ?", token, sku, token))
	case "read": // units
		s.read, err = readStock(ctx, s.tx)
		return s.read, err
	case "write": // units written
		return s.read - 1, writeStock(ctx, s.tx, s.read-1)
	case "write-fenced": // rows
		token := s.lease.Token(sku)
		return affected(s.tx.ExecContext(ctx, "UPDATE stock SET available = ?, fence = ? WHERE sku = ? AND fence <= ?",
			s.read-1, token, sku, token))
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
