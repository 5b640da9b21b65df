package lesson

import (
	"context"

	"holdfast/internal/lab/step"
)

func fence() Lesson {
	return Lesson{Name: "fence", Scenes: fenceScenes, Roles: map[string]Role{"seller": runSeller}, Takes: []string{paramTTL}}
}

const fenceRounds, fenceStock = 4, 100

// fenceWays returns the ways to use the fence, by the names of their texts, with their scripts.
func fenceWays() []fenceWay {
	return []fenceWay{
		{"none", []string{
			"A lock", "A read", "A freezes", "expiry", "B lock", "B read ? fence.ask.b-reads", "B write", "B commit",
			"A wakes", "A write ? fence.ask.a-writes", "A commit",
		}},
		{"after", []string{
			"A lock", "A read", "A freezes", "expiry", "B lock", "B read", "B write-fenced", "B commit",
			"A wakes", "A write-fenced ? fence.ask.a-fenced", "A commit",
		}},
		{"before", []string{
			"A lock", "A read", "A freezes", "expiry", "B lock", "B read",
			"A wakes", "A write-fenced ? fence.ask.a-fenced", "A commit", "B write-fenced ? fence.ask.b-fenced", "B commit",
		}},
		{"late", []string{
			"A lock", "A freezes", "expiry", "B lock", "B claim", "B read", "B write", "B commit",
			"A wakes", "A claim ? fence.ask.a-claims", "A read", "A write", "A commit",
		}},
		{"held", []string{
			"A lock", "A claim", "A read", "A freezes", "expiry", "B lock", "B claim ? fence.ask.b-claims",
			"A wakes", "A write", "A commit ? fence.ask.a-commits", "B read ? fence.ask.b-reads", "B write", "B commit",
		}},
	}
}

type fenceWay struct {
	name   string
	script []string
}

func fenceScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.shelf(ctx)
	if err != nil {
		return nil, err
	}
	d, err := e.duel(ctx, s)
	if err != nil {
		return nil, err
	}
	results := map[string]sales{}
	var scenes []step.Scene
	for i, way := range fenceWays() {
		scenes = append(scenes, e.fenceScene(d, way, i == 0, func(r sales) { results[way.name] = r }))
	}
	return append(scenes, e.scene(step.T("fence.results", fenceRounds), func(context.Context) (*step.Stage, error) {
		return &step.Stage{End: func(_ context.Context, end *step.Ending) error {
			checkFence(results, end)
			return nil
		}}, nil
	})), nil
}

// fenceScene plays the script several times on one stock and shows the first round.
func (e *Env) fenceScene(sellers *duel, way fenceWay, first bool, result func(sales)) step.Scene {
	return e.scene(step.T("fence."+way.name), func(ctx context.Context) (*step.Stage, error) {
		d, err := sellers.idle(ctx)
		if err != nil {
			return nil, err
		}
		if err := d.shelf.fill(ctx, fenceStock); err != nil {
			return nil, err
		}
		stage := d.stage(way.script...)
		if first {
			stage.Notes = append([]step.Note{{Text: step.T("fence.intro", d.ttl)}}, stage.Notes...)
		}
		d.repeat(stage, fenceRounds-1, way.script)
		stage.End = func(ctx context.Context, _ *step.Ending) error {
			left, err := d.shelf.left(ctx)
			d.sales.gone, d.inUse = fenceStock-left, false
			result(d.sales)
			return err
		}
		return stage, nil
	})
}

func checkFence(results map[string]sales, end *step.Ending) {
	table := [][]any{{"", step.T("lesson.sold"), step.T("lesson.refused"), step.T("lesson.gone"), step.T("lesson.lost")}}
	for _, way := range fenceWays() {
		r := results[way.name]
		table = append(table, []any{step.T("fence." + way.name + ".row"), r.accepted, r.refused, r.gone, r.lost()})
	}
	end.Table(table...)
	after, late, held := results["after"], results["late"], results["held"]
	end.Check(results["none"].lost() == fenceRounds, "fence.none.claim")
	end.Check(after.lost() == 0 && after.refused == fenceRounds, "fence.after.claim")
	end.Check(results["before"].lost() == fenceRounds, "fence.before.claim")
	end.Check(late.lost() == 0 && late.refused == fenceRounds, "fence.late.claim")
	end.Check(held.lost() == 0 && held.refused == 0, "fence.held.claim")
}
