package lesson

import (
	"context"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventorylab"
)

func mutexTwoInstances() Lesson {
	return Lesson{Name: "mutex-two-instances", Scenes: mutexScenes, Takes: []string{paramBuyers}}
}

// mutexScenes opens two labs, each with a mutex and a connection pool of its own, like two replicas of the service.
func mutexScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	dsn, err := e.DSN(ctx)
	if err != nil {
		return nil, err
	}
	var labs [4]*inventorylab.Lab
	for i, strategy := range []string{"mutex", "mutex", "for-update", "for-update"} {
		if labs[i], err = e.lab(ctx, dsn, strategy); err != nil {
			return nil, err
		}
	}
	row := func(scene string) step.Text { return step.T("mutex-two-instances." + scene + ".row") }
	aloneRow, bothRow, exactRow := row("alone"), row("both"), row("exact")
	var alone, both rush
	return []step.Scene{
		e.rushScene(step.T("mutex-two-instances.alone"), "mutex-two-instances.alone.ask", aloneRow, func(ctx context.Context) (_ rush, err error) {
			alone, err = sellOut(ctx, e.buyers(), fresh("ALONE"), labs[0])
			return alone, err
		}, nil),
		e.rushScene(step.T("mutex-two-instances.both"), "mutex-two-instances.both.ask", bothRow, func(ctx context.Context) (_ rush, err error) {
			both, err = e.rushUntilBroken(ctx, "BOTH", labs[0], labs[1])
			return both, err
		}, nil),
		e.rushScene(step.T("mutex-two-instances.exact"), "mutex-two-instances.exact.ask", exactRow, func(ctx context.Context) (rush, error) {
			return sellOut(ctx, e.buyers(), fresh("ROW-LOCK"), labs[2], labs[3])
		}, func(exact rush, end *step.Ending) {
			end.Table(rushHead(), alone.row(aloneRow), both.row(bothRow), exact.row(exactRow))
			end.Check(alone.exact(), "mutex-two-instances.alone.claim", alone.sold, rushUnits)
			end.Check(both.oversold > 0 && both.lost > 0, "mutex-two-instances.both.claim", both.oversold, both.lost)
			end.Check(exact.exact(), "mutex-two-instances.exact.claim")
		}),
	}, nil
}
