package lesson

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
)

func skippedUnits() Lesson {
	return Lesson{
		Name:  "skipped-units",
		Title: "a locked unit is not sold",
		Run:   runSkippedUnits,
	}
}

func runSkippedUnits(ctx context.Context, e *Env) error {
	s, err := e.shelf(ctx)
	if err != nil {
		return err
	}
	if err := oneUnit(ctx, e, s); err != nil {
		return err
	}
	if err := skipAndRefuse(ctx, e, s); err != nil {
		return err
	}
	if err := waitAndSee(ctx, e, s); err != nil {
		return err
	}
	e.Step("The strategy skip-locked does both: it skips locked units, and waits before it refuses. As a rush, with two replicas.")
	exact, err := e.rushAtTwo(ctx, s.dsn, "skip-locked", "UNITS")
	if err != nil {
		return err
	}
	e.Table(rushHead(), exact.row("skip-locked"))
	e.Check(exact.sold == rushUnits && exact.lost == 0, "%d of %d sold, the last unit too", exact.sold, rushUnits)
	return nil
}

// oneUnit creates a product with one available unit. Its row is created by the first order.
func oneUnit(ctx context.Context, e *Env, s *shelf) error {
	lab, err := e.lab(ctx, s.dsn, "skip-locked")
	if err != nil {
		return err
	}
	if err := lab.Stock(ctx, sku, 1, "first"); err != nil {
		return err
	}
	if ok, err := buyOne(ctx, lab, sku, "FIRST"); err != nil || !ok {
		return fmt.Errorf("the first order: sold %t, %w", ok, err)
	}
	return lab.Release(ctx, "FIRST")
}

// takeUnit locks a free unit and returns its number, or 0 if it finds none.
func takeUnit(ctx context.Context, tx *stdsql.Tx, locking string) (unit int64, err error) {
	err = tx.QueryRowContext(ctx, "SELECT unit FROM stock_units WHERE sku = ? AND order_no IS NULL LIMIT 1 FOR UPDATE"+locking, sku).Scan(&unit)
	if errors.Is(err, stdsql.ErrNoRows) {
		return 0, nil
	}
	return unit, err
}

// skipAndRefuse: A locks the last unit and does not buy it. B is refused meanwhile.
func skipAndRefuse(ctx context.Context, e *Env, s *shelf) error {
	e.Step("By hand: one unit, two buyers, SKIP LOCKED.")
	a, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer a.Rollback() //nolint:errcheck // a second Rollback has no effect
	b, err := e.flaw(ctx, s.dsn, "skip-and-refuse", nil)
	if err != nil {
		return err
	}
	unitA, err := takeUnit(ctx, a, " SKIP LOCKED")
	if err != nil {
		return err
	}
	e.Show("A: BEGIN, SELECT unit … FOR UPDATE SKIP LOCKED -> %d", unitA)
	soldB, err := buyOne(ctx, b, sku, "B")
	if err != nil {
		return err
	}
	e.Show("B: BEGIN, the same -> no row: \"sold out\", B leaves")
	if err := a.Rollback(); err != nil {
		return err
	}
	e.Show("A: the payment fails, ROLLBACK")
	var free int64
	if err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM stock_units WHERE sku = ? AND order_no IS NULL", sku).Scan(&free); err != nil {
		return err
	}
	e.Check(unitA == 1 && !soldB && free == 1, "B got \"sold out\", and the unit is still available")
	return nil
}

// waitAndSee: before it refuses, B reads without SKIP LOCKED and waits for A's outcome.
func waitAndSee(ctx context.Context, e *Env, s *shelf) error {
	e.Step("The same, but B reads again without SKIP LOCKED before it refuses.")
	a, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer a.Rollback() //nolint:errcheck // a second Rollback has no effect
	if _, err := takeUnit(ctx, a, " SKIP LOCKED"); err != nil {
		return err
	}
	b, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer b.Rollback() //nolint:errcheck // after Commit there is nothing to undo
	if skipped, err := takeUnit(ctx, b, " SKIP LOCKED"); err != nil || skipped != 0 {
		return errors.Join(errors.New("the unit was not locked"), err)
	}
	type answer struct {
		unit int64
		err  error
	}
	waiting := make(chan answer, 1)
	go func() {
		unit, err := takeUnit(ctx, b, "")
		waiting <- answer{unit, err}
	}()
	e.Show("A has the unit locked; B: SELECT unit … FOR UPDATE waits")
	if err := a.Rollback(); err != nil {
		return err
	}
	got := <-waiting
	if got.err != nil {
		return got.err
	}
	e.Show("A: ROLLBACK; B -> %d", got.unit)
	sold, err := affected(b.ExecContext(ctx, "UPDATE stock_units SET order_no = 'B' WHERE sku = ? AND unit = ?", sku, got.unit))
	if err := errors.Join(err, b.Commit()); err != nil {
		return err
	}
	e.Check(got.unit == 1 && sold == 1, "B has the unit")
	return nil
}
