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

// seller is a process that sells one unit in a transaction under a lease, one statement for each order of the lesson, so
// that the lesson can freeze it between any two. It never looks whether its lease is still good, as code that has just
// looked, and was stopped then, cannot know any better.
type seller struct {
	locker *lock.Redis
	db     *stdsql.DB

	lease *lock.Lease
	tx    *stdsql.Tx
	read  int64
}

// leaseTTL is how long a frozen seller keeps the others out.
const leaseTTL = 400 * time.Millisecond

// runSeller is a role. Args: Redis's address, the locks' prefix, the database.
func runSeller(ctx context.Context, c *Child) (err error) {
	locker, closing, err := newLocker(c.Args[0], c.Args[1], lock.WithTTL(leaseTTL))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	db, err := database.Open(ctx, c.Args[2], database.Options{LockWait: patience, IdleTimeout: 2 * patience})
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
			return nil // the lesson is over
		}
		answer, err := s.obey(ctx, order)
		if err != nil {
			return fmt.Errorf("%s: %w", order, err)
		}
		c.Report("%s %d", order, answer)
	}
}

// obey carries out one order and returns the number that it is about.
func (s *seller) obey(ctx context.Context, order string) (n int64, err error) {
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
	case "write": // what it wrote
		return s.read - 1, writeStock(ctx, s.tx, s.read-1)
	case "write-fenced": // rows
		token := s.lease.Token(sku)
		return affected(s.tx.ExecContext(ctx, "UPDATE stock SET available = ?, fence = ? WHERE sku = ? AND fence <= ?",
			s.read-1, token, sku, token))
	case "commit": // 1 when the lease was ours to the end
		return s.end(ctx, s.tx.Commit())
	case "rollback":
		return s.end(ctx, s.tx.Rollback())
	}
	return 0, errors.New("unknown order")
}

// end gives the lock back.
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
