package lesson

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventorylab"
)

func unlockBeforeCommit() Lesson {
	return Lesson{Name: "unlock-before-commit", Scenes: unlockScenes}
}

// The race of the lesson.
const (
	unlockWorkers = 8
	unlockEach    = 25
)

func unlockScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.shelf(ctx)
	if err != nil {
		return nil, err
	}
	flaw, err := e.flaw(ctx, s.dsn, "unlock-before-commit")
	if err != nil {
		return nil, err
	}
	cfg, err := e.redisLab(ctx, s.dsn, "redis-lock")
	if err != nil {
		return nil, err
	}
	cure, err := e.open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	var early sales
	head := []any{"", step.T("lesson.sold"), step.T("lesson.gone"), step.T("lesson.lost")}
	row := func(name string, r sales) []any { return []any{name, r.accepted, r.gone, r.lost()} }
	race := func(title step.Text, ask, name, sku string, lab *inventorylab.Lab, result func(sales, *step.Ending)) step.Scene {
		return e.scene(title, func(context.Context) (*step.Stage, error) {
			var r sales
			stage := crowd(step.T("unlock-before-commit.workers", unlockWorkers, unlockEach), ask, func(ctx context.Context) (_ *step.Table, err error) {
				r, err = sellAll(ctx, lab, fresh(sku))
				return step.NewTable(head, row(name, r)), err
			})
			stage.End = func(_ context.Context, end *step.Ending) error {
				result(r, end)
				return nil
			}
			return stage, nil
		})
	}
	return []step.Scene{
		e.scene(step.T("unlock-before-commit.hand"), func(ctx context.Context) (*step.Stage, error) {
			return e.unlockByHand(ctx, s)
		}),
		race(step.T("unlock-before-commit.early", unlockWorkers, unlockEach, unlockWorkers*unlockEach),
			"unlock-before-commit.early.ask", "unlock, COMMIT", "EARLY", flaw, func(r sales, _ *step.Ending) { early = r }),
		race(step.T("unlock-before-commit.late"), "", "COMMIT, unlock", "LATE", cure, func(late sales, end *step.Ending) {
			end.Table(head, row("unlock, COMMIT", early), row("COMMIT, unlock", late))
			end.Check(early.lost() > 0, "unlock-before-commit.early.claim", early.lost(), early.accepted)
			end.Check(late.lost() == 0 && late.accepted == unlockWorkers*unlockEach, "unlock-before-commit.late.claim")
		}),
	}, nil
}

// unlockByHand stops two orders of the mistake between its statements.
func (e *Env) unlockByHand(ctx context.Context, s *shelf) (*step.Stage, error) {
	if err := s.fill(ctx, 10); err != nil {
		return nil, err
	}
	var sold int
	stage := &step.Stage{Order: []string{"A", "A", "B", "B", "A", "B"}, Look: s.look()}
	for _, name := range []string{"A", "B"} {
		c, err := e.call(ctx, s, name, "", "unlock-before-commit")
		if err != nil {
			return nil, err
		}
		unlocked := func(p inventorylab.Point) bool { return p.At == inventorylab.AtUnlocked }
		unlock := step.Step{
			Label: step.T("unlock-before-commit.unlock"), Ask: "unlock-before-commit.unlock.ask." + name,
			Do: c.run(unlocked, func(p *inventorylab.Point, err error) (step.Result, error) {
				if p == nil {
					return step.Result{}, errors.Join(errEnded, err)
				}
				return step.Result{}, nil
			}),
		}
		commit := c.sell(step.T("unlock-before-commit.commit"), "", func(_ *inventorylab.Point, err error) (step.Result, error) {
			sold++
			return step.Result{}, err
		})
		read := c.read("unlock-before-commit.read", "unlock-before-commit.read.ask."+name, "unlock-before-commit.read.got."+name)
		stage.Actors = append(stage.Actors, c.actor(read, unlock, commit))
		stage.Look = append(stage.Look, c.look)
	}
	client, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	stage.Look = append(stage.Look, e.lookKeys(client, "locks:"))
	stage.End = func(ctx context.Context, end *step.Ending) error {
		left, err := s.left(ctx)
		end.Check(err == nil && sold == 2 && left == 9, "unlock-before-commit.hand.claim", left)
		return err
	}
	return stage, nil
}

// sellAll lets workers sell one unit at a time until each has sold its share.
func sellAll(ctx context.Context, lab *inventorylab.Lab, sku string) (sales, error) {
	if err := lab.Stock(ctx, sku, unlockWorkers*unlockEach, "first-"+sku); err != nil {
		return sales{}, err
	}
	var accepted atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for range unlockWorkers {
		g.Go(func() error {
			for range unlockEach {
				ok, err := buyOne(gctx, lab, sku, ulid.Make().String())
				if err != nil {
					return err
				}
				if ok {
					accepted.Add(1)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return sales{}, err
	}
	entry, err := ledgerOf(ctx, lab, sku)
	return sales{accepted: accepted.Load(), gone: entry.Inbound - entry.Available}, err
}
