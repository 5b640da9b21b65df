package lesson

import (
	"context"
	"errors"
	"sync/atomic"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
)

func naive() Lesson {
	return Lesson{Name: "naive", Scenes: naiveScenes, Takes: []string{paramBuyers}}
}

func naiveScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.shelf(ctx)
	if err != nil {
		return nil, err
	}
	bad, err := e.lab(ctx, s.dsn, "naive")
	if err != nil {
		return nil, err
	}
	good, err := e.lab(ctx, s.dsn, "conditional")
	if err != nil {
		return nil, err
	}
	var broken rush
	return []step.Scene{
		e.lastUnitTwice(s, "naive.hand", "naive", ""),
		e.rushScene(step.T("naive.rush"), "naive.rush.ask", "naive", func(ctx context.Context) (r rush, err error) {
			broken, err = e.rushUntilBroken(ctx, "NAIVE", bad)
			return broken, err
		}, nil),
		e.rushScene(step.T("naive.cure"), "naive.cure.ask", "conditional", func(ctx context.Context) (rush, error) {
			return sellOut(ctx, e.buyers(), fresh("CONDITIONAL"), good)
		}, func(exact rush, end *step.Ending) {
			end.Table(rushHead(), broken.row("naive"), exact.row("conditional"))
			end.Check(broken.oversold > 0, "naive.oversold", broken.oversold)
			end.Check(broken.lost > 0, "naive.lost", broken.lost, broken.sold)
			end.Check(exact.exact(), "naive.exact", exact.sold, rushUnits)
		}),
	}, nil
}

// lastUnitTwice returns the scene in which two buyers read the last unit, each in a transaction, and then both write.
// The texts have the given prefix.
func (e *Env) lastUnitTwice(s *shelf, texts, strategy, mistake string) step.Scene {
	return e.scene(step.T(texts+".title"), func(ctx context.Context) (*step.Stage, error) {
		if err := s.fill(ctx, 1); err != nil {
			return nil, err
		}
		stage := &step.Stage{Order: []string{"A", "B", "A", "B"}, Look: s.look()}
		var reads atomic.Int64
		sold := 0
		for _, buyer := range []string{"A", "B"} {
			c, err := e.call(ctx, s, buyer, strategy, mistake)
			if err != nil {
				return nil, err
			}
			read := c.read(texts+".read", texts+".read.ask."+buyer, texts+".read.got")
			write := c.sell(step.T("lesson.save"), texts+".write.ask."+buyer, func(_ *inventorylab.Point, err error) (step.Result, error) {
				if errors.Is(err, inventoryapi.ErrOutOfStock) {
					return step.Result{Text: step.T("lesson.sold-out")}, nil
				}
				sold++
				return step.Result{Text: step.T("lesson.save.got", buyer)}, err
			})
			read.Do = countReads(read.Do, &reads)
			stage.Actors = append(stage.Actors, c.actor(read, write))
			stage.Look = append(stage.Look, c.look)
		}
		stage.End = func(ctx context.Context, end *step.Ending) error {
			left, err := s.left(ctx)
			end.Check(err == nil && reads.Load() == 2 && sold == 2 && left == 0, texts+".twice")
			return err
		}
		return stage, nil
	})
}

// countReads counts the calls of a step that succeed.
func countReads(do func(context.Context) (step.Result, error), n *atomic.Int64) func(context.Context) (step.Result, error) {
	return func(ctx context.Context) (step.Result, error) {
		r, err := do(ctx)
		if err == nil {
			n.Add(1)
		}
		return r, err
	}
}
