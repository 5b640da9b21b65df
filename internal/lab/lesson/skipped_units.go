package lesson

import (
	"context"
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
)

func skippedUnits() Lesson {
	return Lesson{Name: "skipped-units", Scenes: skippedUnitsScenes, Takes: []string{paramBuyers}}
}

func skippedUnitsScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.shelf(ctx)
	if err != nil {
		return nil, err
	}
	lab, err := e.lab(ctx, s.dsn, "skip-locked")
	if err != nil {
		return nil, err
	}
	return []step.Scene{
		e.scene(step.T("skipped-units.refuse"), func(ctx context.Context) (*step.Stage, error) {
			return e.skipAndRefuse(ctx, s, lab)
		}),
		e.scene(step.T("skipped-units.wait"), func(ctx context.Context) (*step.Stage, error) {
			return e.waitAndSee(ctx, s, lab)
		}),
		e.exactRush(s, "skipped-units.rush", "skipped-units.rush.ask", "skip-locked", "UNITS", "lesson.last-too"),
	}, nil
}

// oneUnit creates a product with one available unit. The unit's row is created by the first order.
func oneUnit(ctx context.Context, lab *inventorylab.Lab) (product string, err error) {
	product = fresh("UNIT")
	if err := lab.Stock(ctx, product, 1, "first-"+product); err != nil {
		return "", err
	}
	first := ulid.Make().String()
	if ok, err := buyOne(ctx, lab, product, first); err != nil || !ok {
		return "", fmt.Errorf("the first order: sold %t, %w", ok, err)
	}
	return product, lab.Release(ctx, first)
}

// unitStage has A, who locks the last unit and does not buy it, and B, who orders meanwhile with a strategy or a
// mistake. b is B's step.
type unitStage struct {
	stage   *step.Stage
	locked  bool // A has locked the unit
	product string
}

func (e *Env) unitStage(
	ctx context.Context, s *shelf, lab *inventorylab.Lab, strategy, mistake string, b func(*call) step.Step,
) (*unitStage, error) {
	product, err := oneUnit(ctx, lab)
	if err != nil {
		return nil, err
	}
	lines := []inventoryapi.Line{{SKU: product, Quantity: 1}}
	buyerA, err := e.callFor(ctx, s, "A", "skip-locked", "", lines)
	if err != nil {
		return nil, err
	}
	buyerB, err := e.callFor(ctx, s, "B", strategy, mistake, lines)
	if err != nil {
		return nil, err
	}
	u := &unitStage{product: product}
	locks := step.Step{
		Label: step.T("skipped-units.lock"),
		Do: buyerA.run(beforeUpdate("stock_units"), func(p *inventorylab.Point, err error) (step.Result, error) {
			if u.locked = p != nil; !u.locked {
				return step.Result{}, errors.Join(errEnded, err)
			}
			return step.Result{Text: step.T("skipped-units.lock.got", fmt.Sprint(p.Args[2]))}, nil
		}),
	}
	rollsBack := step.Step{
		Label: step.T("skipped-units.rollback"),
		Do: func(context.Context) (step.Result, error) {
			return step.Result{}, buyerA.stop()
		},
	}
	units := s.lookRows(step.T("skipped-units.units"), "SELECT unit, order_no FROM stock_units WHERE sku = ?", product)
	u.stage = &step.Stage{
		Actors: []*step.Actor{buyerA.actor(locks, rollsBack), buyerB.actor(b(buyerB))},
		Order:  []string{"A", "B", "A"},
		Look:   []step.Looker{units, s.lookLocks, buyerA.look, buyerB.look},
	}
	return u, nil
}

// skipAndRefuse: A locks the last unit and does not buy it. B is refused meanwhile.
func (e *Env) skipAndRefuse(ctx context.Context, s *shelf, lab *inventorylab.Lab) (*step.Stage, error) {
	var refused bool
	u, err := e.unitStage(ctx, s, lab, "", "skip-and-refuse", func(c *call) step.Step {
		return c.sell(step.T("skipped-units.same"), "skipped-units.same.ask", func(_ *inventorylab.Point, err error) (step.Result, error) {
			if refused = errors.Is(err, inventoryapi.ErrOutOfStock); refused {
				return step.Result{Text: step.T("skipped-units.same.none")}, nil
			}
			return step.Result{}, err
		})
	})
	if err != nil {
		return nil, err
	}
	u.stage.End = func(ctx context.Context, end *step.Ending) error {
		var free int64
		err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM stock_units WHERE sku = ? AND order_no IS NULL", u.product).Scan(&free)
		end.Check(err == nil && u.locked && refused && free == 1, "skipped-units.refuse.claim")
		return err
	}
	return u.stage, nil
}

// waitAndSee: before it refuses, the strategy reads without SKIP LOCKED and waits for A's outcome.
func (e *Env) waitAndSee(ctx context.Context, s *shelf, lab *inventorylab.Lab) (*step.Stage, error) {
	var sold bool
	u, err := e.unitStage(ctx, s, lab, "skip-locked", "", func(c *call) step.Step {
		return c.sell(step.T("skipped-units.again"), "skipped-units.again.ask", func(_ *inventorylab.Point, err error) (step.Result, error) {
			sold = err == nil
			return step.Result{Text: step.T("skipped-units.again.got")}, err
		})
	})
	if err != nil {
		return nil, err
	}
	u.stage.End = func(_ context.Context, end *step.Ending) error {
		end.Check(u.locked && sold, "skipped-units.wait.claim")
		return nil
	}
	return u.stage, nil
}
