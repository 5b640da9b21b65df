package leasecheck

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"holdfast/pkg/lock"
)

// Point is a place in a deduction at which a holder can be stopped.
type Point string

// The points, in order.
const (
	BeforeClaim  Point = "before the claim"
	BeforeRead   Point = "before the read"
	BeforeWrite  Point = "before the write"
	BeforeCommit Point = "before the commit"
)

// Points are all of them.
func Points() []Point { return []Point{BeforeClaim, BeforeRead, BeforeWrite, BeforeCommit} }

// Guards says which guards of the protocol are missing. The zero value is the protocol as it should be: claim the
// token, then read, then write, on the lease's context, and release after the commit.
type Guards struct {
	EarlyRelease bool // the lease is released before the commit
	NoFence      bool // nothing is claimed: a plain read and an absolute write
	SameToken    bool // a token that the row has seen is claimed again
	FenceOnWrite bool // the token is compared by the write only, and not claimed before the read
	Deaf         bool // the transaction does not end with the lease: a holder that does not notice the end
}

// Deduction takes a quantity from each of its keys, which are sorted, or nothing from any.
type Deduction struct {
	ID       string
	Keys     []string
	Quantity int64
}

// What can become of a deduction besides success. Any other error means that nothing was taken.
var (
	// ErrUnknown means that the COMMIT got no answer.
	ErrUnknown = errors.New("leasecheck: commit not answered")
	// ErrSoldOut is wrapped by a *RefusedError: a row has less than was asked for.
	ErrSoldOut = errors.New("leasecheck: sold out")
)

// RefusedError is a row that said no. It wraps lock.ErrStale or ErrSoldOut.
type RefusedError struct {
	Key   string
	Fence int64 // the newest token that the row has seen, for lock.ErrStale
	Err   error
}

// Error implements error.
func (e *RefusedError) Error() string { return fmt.Sprintf("%s: %v", e.Key, e.Err) }

// Unwrap implements errors.Unwrap.
func (e *RefusedError) Unwrap() error { return e.Err }

// Deduct runs the deduction under the lease and returns what is left of each key. at is called at each point.
func (g Guards) Deduct(
	ctx context.Context, s Stock, lease *lock.Lease, d Deduction, at func(Point),
) (left map[string]int64, err error) {
	work := lease.Context() //nolint:contextcheck // It is derived from the context of the acquisition.
	if g.Deaf || g.EarlyRelease {
		work = ctx
	}
	tx, err := s.DB.BeginTx(work, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it says that it came too late
	c := deducting{Deduction: d, guards: g, ctx: work, tx: tx, lease: lease}
	for _, step := range []struct {
		at Point
		do func(string) error
	}{{BeforeClaim, c.claim}, {BeforeRead, c.read}, {BeforeWrite, c.write}} {
		at(step.at)
		for _, key := range d.Keys {
			if err := step.do(key); err != nil {
				return nil, err
			}
		}
	}
	if g.EarlyRelease {
		_ = lease.Release(ctx)
	}
	at(BeforeCommit)
	return c.left(), commit(work, tx)
}

// commit tells "was not sent", which is nothing done, from "was not answered".
func commit(work context.Context, tx *sql.Tx) error {
	err := tx.Commit()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrTxDone), work.Err() != nil && errors.Is(err, work.Err()): // database/sql has sent nothing
		return fmt.Errorf("not committed: %w", err)
	default:
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
}

// deducting is one deduction under way.
type deducting struct {
	Deduction
	guards Guards
	ctx    context.Context //nolint:containedctx // The transaction's; it lives as long as this value.
	tx     *sql.Tx
	lease  *lock.Lease
	stock  map[string]int64 // as read
}

func (c *deducting) claim(key string) error {
	if c.guards.NoFence || c.guards.FenceOnWrite {
		return nil
	}
	token := c.lease.Token(key)
	newer := "fence < ?"
	if c.guards.SameToken {
		newer = "fence <= ?"
	}
	// The number of claims changes always, as a server that counts changed rows must not take "the same again" for
	// "refused".
	return c.changeOne(key, "UPDATE fenced SET fence = ?, claims = claims + 1 WHERE k = ? AND "+newer, token, key, token)
}

func (c *deducting) read(key string) error {
	var stock int64
	if err := c.tx.QueryRowContext(c.ctx, "SELECT stock FROM fenced WHERE k = ?", key).Scan(&stock); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	if stock < c.Quantity {
		return &RefusedError{Key: key, Err: ErrSoldOut}
	}
	if c.stock == nil {
		c.stock = make(map[string]int64)
	}
	c.stock[key] = stock
	return nil
}

// write puts an absolute value: a relative one needs no lock at all, and would hide what is being tested.
func (c *deducting) write(key string) error {
	token, left := c.lease.Token(key), c.stock[key]-c.Quantity
	var err error
	switch {
	case c.guards.NoFence: // the token is noted, and compared with nothing
		err = c.changeOne(key, "UPDATE fenced SET stock = ?, fence = ? WHERE k = ?", left, token, key)
	case c.guards.FenceOnWrite:
		err = c.changeOne(key, "UPDATE fenced SET stock = ?, fence = ? WHERE k = ? AND fence <= ?", left, token, key, token)
	default:
		err = c.changeOne(key, "UPDATE fenced SET stock = ? WHERE k = ?", left, key)
	}
	if err != nil {
		return err
	}
	_, err = c.tx.ExecContext(c.ctx, "INSERT INTO sale (id, k, quantity, token) VALUES (?, ?, ?, ?)", c.ID, key, c.Quantity, token)
	if err != nil {
		return fmt.Errorf("enter the sale of %s: %w", key, err)
	}
	return nil
}

// changeOne runs an update that must hit its row, or else the row has seen a newer token.
func (c *deducting) changeOne(key, update string, args ...any) error {
	res, err := c.tx.ExecContext(c.ctx, update, args...)
	if err != nil {
		return fmt.Errorf("update %s: %w", key, err)
	}
	n, err := res.RowsAffected()
	if err != nil || n == 1 {
		return err
	}
	refused := &RefusedError{Key: key, Err: lock.ErrStale}
	if err := c.tx.QueryRowContext(c.ctx, "SELECT fence FROM fenced WHERE k = ?", key).Scan(&refused.Fence); err != nil {
		return fmt.Errorf("read the fence of %s: %w", key, err)
	}
	return refused
}

func (c *deducting) left() map[string]int64 {
	left := make(map[string]int64, len(c.stock))
	for key, stock := range c.stock {
		left[key] = stock - c.Quantity
	}
	return left
}
