package lesson

import (
	"context"
	stdsql "database/sql"
	"errors"

	"holdfast/pkg/database"
)

func optimistic() Lesson {
	return Lesson{
		Name:  "optimistic",
		Title: "a version instead of a lock, and where to retry",
		Run:   runOptimistic,
	}
}

func runOptimistic(ctx context.Context, e *Env) error {
	s, err := e.shelf(ctx)
	if err != nil {
		return err
	}
	e.Step("By hand: A reads, B sells, then A writes only if the version is still the one that A read.")
	tries, last, err := overtakenWriter(ctx, e, s, stdsql.LevelReadCommitted)
	if err != nil {
		return err
	}
	e.Check(tries == 2 && last == nil, "the second try read the new version and succeeded")
	e.Step("The trap: the same under REPEATABLE READ, which is the server's default, in one transaction.")
	tries, last, err = overtakenWriter(ctx, e, s, stdsql.LevelRepeatableRead)
	if err != nil {
		return err
	}
	if last != nil {
		e.Show("this server ends the transaction: %v", last) // MariaDB with innodb_snapshot_isolation
	}
	e.Check(tries == maxTries || last != nil, "%d tries, and each read the same old version: the loop would never end", tries)
	e.Step("As a rush, with two replicas: every try in a new transaction, with a pause, at most twelve tries.")
	exact, err := e.rushAtTwo(ctx, s.dsn, "optimistic", "OPTIMISTIC")
	if err != nil {
		return err
	}
	e.Table(rushHead(), exact.row("optimistic"))
	e.Check(exact.sold == rushUnits && exact.lost == 0, "%d of %d sold, and the row has recorded every sale", exact.sold, rushUnits)
	return nil
}

// maxTries ends the loop in this lesson; the real mistake has no such limit.
const maxTries = 50

// overtakenWriter lets A retry inside one transaction of the given level until its write succeeds. last is the error
// with which the server ended the transaction.
func overtakenWriter(ctx context.Context, e *Env, s *shelf, level stdsql.IsolationLevel) (tries int, last, err error) {
	if err := s.fill(ctx, 10); err != nil {
		return 0, nil, err
	}
	a, err := s.db.BeginTx(ctx, &stdsql.TxOptions{Isolation: level})
	if err != nil {
		return 0, nil, err
	}
	defer a.Rollback() //nolint:errcheck // after Commit there is nothing to undo
	for tries = 1; tries <= maxTries; tries++ {
		available, version, err := readVersion(ctx, a)
		if err != nil {
			return tries, nil, err
		}
		if tries <= 3 {
			e.Show("A: SELECT -> available %d, version %d", available, version)
		}
		if tries == 1 {
			if err := writeStock(ctx, s.db, available-1); err != nil {
				return tries, nil, err
			}
			e.Show("B: sells one: available %d, version %d", available-1, version+1)
		}
		n, err := affected(a.ExecContext(ctx, "UPDATE stock SET available = ?, version = version + 1 WHERE sku = ? AND version = ?",
			available-1, sku, version))
		if database.IsRetryable(err) {
			return tries, err, nil
		}
		if err != nil {
			return tries, nil, err
		}
		if tries <= 3 {
			e.Show("A: UPDATE … WHERE version = %d -> %d rows", version, n)
		}
		if n == 1 {
			return tries, nil, errors.Join(a.Commit())
		}
	}
	return maxTries, nil, nil
}

func readVersion(ctx context.Context, q querier) (available, version int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT available, version FROM stock WHERE sku = ?", sku).Scan(&available, &version)
	return available, version, err
}
