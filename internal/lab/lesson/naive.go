package lesson

import (
	"context"
	stdsql "database/sql"
	"errors"
)

func naive() Lesson {
	return Lesson{
		Name:  "naive",
		Title: "read, subtract, write: two buyers, one unit",
		Run:   runNaive,
	}
}

func runNaive(ctx context.Context, e *Env) error {
	s, err := e.shelf(ctx)
	if err != nil {
		return err
	}
	if err := naiveByHand(ctx, e, s); err != nil {
		return err
	}
	bad, err := e.lab(ctx, s.dsn, "naive")
	if err != nil {
		return err
	}
	good, err := e.lab(ctx, s.dsn, "conditional")
	if err != nil {
		return err
	}
	e.Step("As a rush, through the strategy naive.")
	broken, err := rushUntilBroken(ctx, "NAIVE", bad)
	if err != nil {
		return err
	}
	e.Step("The same rush, with the condition in the UPDATE: the strategy conditional.")
	exact, err := sellOut(ctx, "CONDITIONAL", good)
	if err != nil {
		return err
	}
	e.Table(rushHead(), broken.row("naive"), exact.row("conditional"))
	e.Check(broken.oversold > 0, "naive sold %d units that did not exist, and no statement failed", broken.oversold)
	e.Check(broken.lost > 0, "%d of its %d updates are lost", broken.lost, broken.sold)
	e.Check(exact.sold == rushUnits && exact.lost == 0, "conditional sold %d of %d, and lost no update", exact.sold, rushUnits)
	return nil
}

// naiveByHand executes the interleaving statement by statement. Both buyers use transactions, which changes nothing.
func naiveByHand(ctx context.Context, e *Env, s *shelf) error {
	e.Step("By hand: one unit, two buyers, each in a transaction.")
	oversold, err := twoBuyers(ctx, e, s, "SELECT available -> %d: enough", func(tx *stdsql.Tx) (int64, error) { return readStock(ctx, tx) })
	e.Check(oversold, "two buyers have bought the last unit, and the row shows 0, as expected")
	return err
}

// twoBuyers lets two buyers read the last unit, each in a transaction, and then lets both write. oversold means that
// both have read 1 and that the row does not show it.
func twoBuyers(ctx context.Context, e *Env, s *shelf, text string, read func(tx *stdsql.Tx) (int64, error)) (oversold bool, err error) {
	if err := s.fill(ctx, 1); err != nil {
		return false, err
	}
	var txs [2]*stdsql.Tx
	var reads [2]int64
	for i, buyer := range []string{"A", "B"} {
		if txs[i], err = s.db.BeginTx(ctx, nil); err != nil {
			return false, err
		}
		defer txs[i].Rollback() //nolint:errcheck // after Commit there is nothing to undo
		if reads[i], err = read(txs[i]); err != nil {
			return false, err
		}
		e.Show("%s: BEGIN, "+text, buyer, reads[i])
	}
	for i, buyer := range []string{"A", "B"} {
		if err := errors.Join(writeStock(ctx, txs[i], 0), txs[i].Commit()); err != nil {
			return false, err
		}
		e.Show("%s: UPDATE SET available = 0, COMMIT: a unit for %s", buyer, buyer)
	}
	left, err := s.left(ctx)
	return reads == [2]int64{1, 1} && left == 0, err
}
