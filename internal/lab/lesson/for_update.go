package lesson

import (
	"context"
	"errors"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
)

func forUpdate() Lesson {
	return Lesson{Name: "for-update", Scenes: forUpdateScenes, Takes: []string{paramBuyers}}
}

func forUpdateScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.shelf(ctx)
	if err != nil {
		return nil, err
	}
	return []step.Scene{
		e.forUpdateWaits(s),
		e.lastUnitTwice(s, "for-update.trap", "", "other-connection"),
		e.exactRush(s, "for-update.rush", "for-update.rush.ask", "for-update", "FOR-UPDATE", "lesson.recorded"),
	}, nil
}

// exactRush returns a scene with a rush through a strategy at two replicas, which must be exact. claim is the text.
func (e *Env) exactRush(s *shelf, title, ask, strategy, sku, claim string) step.Scene {
	return e.rushScene(step.T(title), ask, strategy, func(ctx context.Context) (rush, error) {
		return e.rushAtTwo(ctx, s.dsn, strategy, sku)
	}, func(exact rush, end *step.Ending) {
		end.Table(rushHead(), exact.row(strategy))
		end.Check(exact.exact(), claim, exact.sold, rushUnits)
	})
}

// forUpdateWaits shows that B waits at its read and then reads A's write.
func (e *Env) forUpdateWaits(s *shelf) step.Scene {
	return e.scene(step.T("for-update.hand"), func(ctx context.Context) (*step.Stage, error) {
		if err := s.fill(ctx, 1); err != nil {
			return nil, err
		}
		a, err := e.call(ctx, s, "A", "for-update", "")
		if err != nil {
			return nil, err
		}
		b, err := e.call(ctx, s, "B", "for-update", "")
		if err != nil {
			return nil, err
		}
		var sold, soldOut bool
		saves := a.sell(step.T("lesson.save"), "", func(_ *inventorylab.Point, err error) (step.Result, error) {
			sold = err == nil
			return step.Result{Text: step.T("for-update.save.got")}, err
		})
		waits := b.sell(step.T("for-update.read"), "for-update.read.ask.B", func(_ *inventorylab.Point, err error) (step.Result, error) {
			if soldOut = errors.Is(err, inventoryapi.ErrOutOfStock); soldOut {
				return step.Result{Text: step.T("for-update.read.none")}, nil
			}
			return step.Result{Text: step.T("lesson.save.got", "B")}, err
		})
		return &step.Stage{
			Actors: []*step.Actor{a.actor(a.read("for-update.read", "for-update.read.ask.A", "for-update.read.got"), saves), b.actor(waits)},
			Order:  []string{"A", "B", "A"},
			Look:   append(s.look(), a.look, b.look),
			End: func(_ context.Context, end *step.Ending) error {
				end.Check(sold && soldOut, "for-update.hand.claim")
				return nil
			},
		}, nil
	})
}
