package lesson

import (
	"context"
)

func mutexTwoInstances() Lesson {
	return Lesson{
		Name:  "mutex-two-instances",
		Title: "a mutex guards one process, but there are two",
		Run:   runMutexTwoInstances,
	}
}

// runMutexTwoInstances opens two labs, each with a mutex and a connection pool of its own, like two replicas of the
// service.
func runMutexTwoInstances(ctx context.Context, e *Env) error {
	dsn, err := e.DSN(ctx)
	if err != nil {
		return err
	}
	one, err := e.lab(ctx, dsn, "mutex")
	if err != nil {
		return err
	}
	two, err := e.lab(ctx, dsn, "mutex")
	if err != nil {
		return err
	}
	guarded, err := e.lab(ctx, dsn, "for-update")
	if err != nil {
		return err
	}
	other, err := e.lab(ctx, dsn, "for-update")
	if err != nil {
		return err
	}
	e.Step("One replica: read, subtract, write and COMMIT under a sync.Mutex.")
	alone, err := sellOut(ctx, "ALONE", one)
	if err != nil {
		return err
	}
	e.Step("A second replica is started. Nothing in the code has changed.")
	both, err := rushUntilBroken(ctx, "BOTH", one, two)
	if err != nil {
		return err
	}
	e.Step("Two replicas, with a lock that both share: SELECT … FOR UPDATE.")
	exact, err := sellOut(ctx, "ROW-LOCK", guarded, other)
	if err != nil {
		return err
	}
	e.Table(rushHead(), alone.row("mutex, one replica"), both.row("mutex, two replicas"), exact.row("for-update, two"))
	e.Check(alone.sold == rushUnits && alone.lost == 0, "alone, the mutex is right: %d of %d sold", alone.sold, rushUnits)
	e.Check(both.oversold > 0 && both.lost > 0, "with two replicas %d units are oversold and %d updates lost", both.oversold, both.lost)
	e.Check(exact.sold == rushUnits && exact.lost == 0, "both replicas share the lock in the database")
	return nil
}
