package lesson

import (
	"context"
	stdsql "database/sql"
	"errors"
)

func forUpdate() Lesson {
	return Lesson{
		Name:  "for-update",
		Title: "a row lock, and when it ends",
		Run:   runForUpdate,
	}
}

const lockingRead = "SELECT available FROM stock WHERE sku = ? FOR UPDATE"

func runForUpdate(ctx context.Context, e *Env) error {
	s, err := e.shelf(ctx)
	if err != nil {
		return err
	}
	if err := forUpdateWaits(ctx, e, s); err != nil {
		return err
	}
	if err := forUpdateOutside(ctx, e, s); err != nil {
		return err
	}
	e.Step("As a rush, with two replicas.")
	exact, err := e.rushAtTwo(ctx, s.dsn, "for-update", "FOR-UPDATE")
	if err != nil {
		return err
	}
	e.Table(rushHead(), exact.row("for-update"))
	e.Check(exact.sold == rushUnits && exact.lost == 0, "%d of %d sold, and the row has recorded every sale", exact.sold, rushUnits)
	return nil
}

func lockRow(ctx context.Context, q querier) (n int64, err error) {
	err = q.QueryRowContext(ctx, lockingRead, sku).Scan(&n)
	return n, err
}

// forUpdateWaits shows that B waits at its read and then reads A's write.
func forUpdateWaits(ctx context.Context, e *Env, s *shelf) error {
	e.Step("By hand: one unit, two buyers. Each reads with FOR UPDATE in its transaction.")
	if err := s.fill(ctx, 1); err != nil {
		return err
	}
	a, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer a.Rollback() //nolint:errcheck // after Commit there is nothing to undo
	n, err := lockRow(ctx, a)
	if err != nil {
		return err
	}
	e.Show("A: BEGIN, SELECT … FOR UPDATE -> %d", n)
	type answer struct {
		n   int64
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		b, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			answers <- answer{0, err}
			return
		}
		n, err := lockRow(ctx, b)
		answers <- answer{n, errors.Join(err, b.Rollback())}
	}()
	err = e.Until(ctx, "B waits for the row", func(ctx context.Context) (bool, error) { return s.readWaits(ctx) })
	if err != nil {
		return err
	}
	e.Show("B: BEGIN, SELECT … FOR UPDATE ... waits")
	if err := errors.Join(writeStock(ctx, a, n-1), a.Commit()); err != nil {
		return err
	}
	e.Show("A: UPDATE SET available = %d, COMMIT", n-1)
	b := <-answers
	if b.err != nil {
		return b.err
	}
	e.Show("B: ... -> %d: sold out", b.n)
	e.Check(n == 1 && b.n == 0, "B read A's write and sold nothing")
	return nil
}

// readWaits reports whether a connection executes a locking read. A read that does not wait ends too quickly to be
// seen.
func (s *shelf) readWaits(ctx context.Context) (bool, error) {
	var n int
	err := s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM information_schema.processlist
		WHERE db = DATABASE() AND command = 'Query' AND info LIKE 'SELECT available%FOR UPDATE'`).Scan(&n)
	return n > 0, err
}

// forUpdateOutside shows that a locking read outside the transaction releases the lock when the statement ends.
func forUpdateOutside(ctx context.Context, e *Env, s *shelf) error {
	e.Step("The trap: the same read, sent to the pool instead of to the transaction.")
	oversold, err := twoBuyers(ctx, e, s, "and on another connection SELECT … FOR UPDATE -> %d; the lock has ended",
		func(*stdsql.Tx) (int64, error) { return lockRow(ctx, s.db) })
	e.Check(oversold, "no buyer waited, and one unit was sold twice")
	return err
}
