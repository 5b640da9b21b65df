package lesson

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/lab/step"
)

func peakShaving() Lesson {
	return Lesson{
		Name: "peak-shaving", Scenes: peakShavingScenes, Messages: true, Roles: serviceRoles(), Takes: []string{paramBuyers},
	}
}

const (
	peakBuyers   = 400 // without the parameter
	peakReplicas = 2   // of each service
	peakBound    = 50  // QUEUE_MAX in the scene about the bound
	peakWave     = 120 // buyers of its first wave
	peakLimit    = time.Minute
	settleLimit  = 30 * time.Second // for units that are released by message
)

func peakShavingScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	b, err := e.broker(ctx)
	if err != nil {
		return nil, err
	}
	buyers := e.cfg.Params.Buyers
	if buyers == 0 {
		buyers = peakBuyers
	}
	s, err := e.peakShop(ctx, b)
	if err != nil {
		return nil, err
	}
	results := map[string]peak{}
	scene := func(flow string, check func(p peak, end *step.Ending)) step.Scene {
		return e.scene(step.T("peak-shaving."+flow, buyers, peakReplicas), func(context.Context) (*step.Stage, error) {
			stage := crowd(step.T("peak-shaving.comes", buyers), "peak-shaving."+flow+".ask", func(ctx context.Context) (_ *step.Table, err error) {
				results[flow], err = s.rush(ctx, flow, buyers)
				return step.NewTable(peakHead(), results[flow].row(flow)), err
			})
			stage.Notes = []step.Note{b.note()}
			stage.End = func(_ context.Context, end *step.Ending) error {
				check(results[flow], end)
				return nil
			}
			return stage, nil
		})
	}
	return []step.Scene{
		scene("tx-message", func(p peak, end *step.Ending) {
			end.Check(p.exact(), "peak-shaving.exact", "tx-message", p.placed, p.gone)
		}),
		scene("queue", func(p peak, end *step.Ending) {
			end.Table(peakHead(), results["tx-message"].row("tx-message"), p.row("queue"))
			end.Check(int64(p.pending) >= p.placed && p.pending+p.decided == buyers, "peak-shaving.queued", p.pending, buyers)
			end.Check(p.exact(), "peak-shaving.exact", "queue", p.placed, p.gone)
		}),
		e.scene(step.T("peak-shaving.bound", peakBound), func(ctx context.Context) (*step.Stage, error) { return e.peakBoundStage(ctx, b) }),
	}, nil
}

// peakBoundStage freezes the stock service, so that nothing leaves the queue, and lets buyers come until the queue is
// full.
func (e *Env) peakBoundStage(ctx context.Context, b *broker) (*step.Stage, error) {
	s, err := e.peakShop(ctx, b,
		fmt.Sprintf("QUEUE_MAX=%d", peakBound), "REQUEST_TIMEOUT=2s", "PENDING_GRACE=2100ms", "SWEEP_AFTER=4s",
		"RECONCILE_AFTER=25h", "QUEUE_TIMEOUT=24h", "PAYMENT_TIMEOUT=48h", // a reader may think, and no order ends meanwhile
	)
	if err != nil {
		return nil, err
	}
	product, err := s.receive(ctx, 10*peakWave)
	if err != nil {
		return nil, err
	}
	var first, second peak
	freeze := step.Step{Label: step.T("peak-shaving.freezes"), Do: func(context.Context) (step.Result, error) {
		return step.Result{}, s.eachInventory((*Process).Freeze)
	}}
	comes := step.Step{Label: step.T("peak-shaving.comes", peakWave), Ask: "peak-shaving.frozen.ask", Do: func(ctx context.Context) (step.Result, error) {
		first = s.buy(ctx, "queue", product, peakWave, false)
		return step.Result{Text: step.T("peak-shaving.comes.got", peakWave, first.pending, first.refused, first.quantile(0.99))}, first.failed
	}}
	more := step.Step{Label: step.T("peak-shaving.more"), Ask: "peak-shaving.more.ask", Do: func(ctx context.Context) (step.Result, error) {
		err := e.Until(ctx, "the queue is full", func(ctx context.Context) (bool, error) {
			p := s.buy(ctx, "queue", product, 1, false)
			second.buyers, second.pending, second.overloaded = second.buyers+1, second.pending+p.pending, second.overloaded+p.overloaded
			return p.overloaded > 0, p.failed
		})
		return step.Result{Text: step.T("peak-shaving.more.got", second.pending, second.overloaded)}, err
	}}
	var placed int64
	thaws := step.Step{Label: step.T("peak-shaving.thaws"), Do: func(ctx context.Context) (step.Result, error) {
		began := time.Now()
		if err := s.eachInventory((*Process).Thaw); err != nil {
			return step.Result{}, err
		}
		if err := s.drain(ctx); err != nil {
			return step.Result{}, err
		}
		p := peak{}
		err := s.counts(ctx, product, &p)
		placed = p.placed
		return step.Result{Text: step.T("peak-shaving.thaws.got", placed, rounded(time.Since(began)))}, err
	}}
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "inventory-srv", Steps: []step.Step{freeze, thaws}}, {Name: "buyers", Steps: []step.Step{comes, more}},
		},
		Order: []string{"inventory-srv", "buyers", "buyers", "inventory-srv"},
		Look:  []step.Looker{s.look},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(first.pending >= peakBound, "peak-shaving.frozen.claim", first.pending, peakWave)
			end.Check(second.overloaded > 0, "peak-shaving.bound.claim")
			end.Check(placed == int64(first.pending+second.pending), "peak-shaving.kept.claim", placed)
			return nil
		},
	}, nil
}
