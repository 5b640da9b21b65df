package lesson

import (
	"context"
	"errors"
	"slices"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/wait"
)

func unsortedLocks() Lesson {
	return Lesson{Name: "unsorted-locks", Scenes: unsortedScenes}
}

// shirt is the second product in the carts.
const shirt = "TEE-BLACK-M"

// giveUp is how long a cart waits for a lock in Redis.
const giveUp = 1500 * time.Millisecond

func unsortedScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.shelf(ctx)
	if err != nil {
		return nil, err
	}
	lab, err := e.lab(ctx, s.dsn, "for-update")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(lab.Stock(ctx, sku, 10, "first-mug"), lab.Stock(ctx, shirt, 10, "first-shirt")); err != nil {
		return nil, err
	}
	return []step.Scene{
		e.scene(step.T("unsorted-locks.redis"), func(ctx context.Context) (*step.Stage, error) {
			return e.deadlockInRedis(ctx, s)
		}),
		e.scene(step.T("unsorted-locks.rows"), func(ctx context.Context) (*step.Stage, error) {
			return e.deadlockInRows(ctx, s)
		}),
		e.scene(step.T("unsorted-locks.sorted"), func(ctx context.Context) (*step.Stage, error) {
			return e.sortedCarts(ctx, s)
		}),
	}, nil
}

// cart is a call of the mistake unsorted-locks with two products, which it locks in the cart's order.
type cart struct {
	*call
	e        *Env
	products []string
	locks    int    // leases that it was granted
	waitedBy string // the value of the key for which the cart was last seen to wait
	err      error  // of the call
}

func (e *Env) cart(ctx context.Context, s *shelf, name string, products []string) (*cart, error) {
	lines := make([]inventoryapi.Line, len(products))
	for i, p := range products {
		lines[i] = inventoryapi.Line{SKU: p, Quantity: 1}
	}
	c, err := e.callFor(ctx, s, name, "", "unsorted-locks", lines)
	return &cart{call: c, e: e, products: products}, err
}

// actor returns the actor with the steps of the cart. A cart waits if another one has the key of its next product.
func (c *cart) actor(steps ...step.Step) *step.Actor {
	return &step.Actor{Name: c.name, Steps: steps, Blocked: func(ctx context.Context) (bool, error) {
		c.mu.Lock()
		locks, connection := c.locks, c.connection
		c.mu.Unlock()
		if locks >= len(c.products) {
			return c.shelf.blocked(ctx, connection)
		}
		return c.othersKey(ctx, c.products[locks])
	}}
}

// othersKey reports whether the key of a product had the same value twice: the cart's own would have let it go on.
func (c *cart) othersKey(ctx context.Context, product string) (bool, error) {
	client, err := c.e.Redis(ctx)
	if err != nil {
		return false, err
	}
	value, err := valueOf(ctx, client, lockName(c.e.Key("locks:"), inventorylab.LockKey(product)))
	same := value != "" && value != "none" && value == c.waitedBy
	c.waitedBy = value
	return same, err
}

// lock is a step that ends when the cart has the lock of its next product.
func (c *cart) lock(label step.Text, ask string) step.Step {
	locked := func(p inventorylab.Point) bool {
		if p.At == inventorylab.AtLocked {
			c.locks++ // under the call's mutex
		}
		return p.At == inventorylab.AtLocked
	}
	return step.Step{Label: label, Ask: ask, Do: c.run(locked, c.end)}
}

// reserve is a step in which the cart goes on to its end.
func (c *cart) reserve() step.Step {
	return c.sell(step.T("unsorted-locks.reserve"), "", c.end)
}

// end makes a result of the call's end. A cart that gives up leaves.
func (c *cart) end(p *inventorylab.Point, err error) (step.Result, error) {
	if p != nil {
		return step.Result{}, nil
	}
	if c.err = err; errors.Is(err, inventoryapi.ErrContended) {
		return step.Result{Text: step.T("unsorted-locks.gave-up"), Leaves: true}, nil
	}
	return step.Result{}, err
}

// deadlockInRedis lets both carts take their first lock and then wait for the other's.
func (e *Env) deadlockInRedis(ctx context.Context, s *shelf) (*step.Stage, error) {
	a, err := e.cart(ctx, s, "A", []string{sku, shirt})
	if err != nil {
		return nil, err
	}
	b, err := e.cart(ctx, s, "B", []string{shirt, sku})
	if err != nil {
		return nil, err
	}
	limit := step.Step{
		Label: step.T("unsorted-locks.limit", giveUp), Ask: "unsorted-locks.limit.ask",
		Do: func(ctx context.Context) (step.Result, error) {
			if err := wait.Sleep(ctx, giveUp); err != nil {
				return step.Result{}, err
			}
			a.cancel()
			b.cancel()
			return step.Result{}, nil
		},
	}
	client, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	return &step.Stage{
		Actors: []*step.Actor{
			a.actor(a.lock(mugLabel(), ""), a.lock(shirtLabel(), "unsorted-locks.shirt.ask")),
			b.actor(b.lock(shirtLabel(), ""), b.lock(mugLabel(), "unsorted-locks.mug.ask")),
			{Steps: []step.Step{limit}},
		},
		Order: []string{"A", "B", "A", "B", ""},
		Look:  []step.Looker{e.lookKeys(client, "locks:")},
		End: func(_ context.Context, end *step.Ending) error {
			failed := 0
			for _, c := range []*cart{a, b} {
				if errors.Is(c.err, inventoryapi.ErrContended) {
					failed++
				}
			}
			end.Check(failed > 0, "unsorted-locks.redis.claim")
			return nil
		},
	}, nil
}

func mugLabel() step.Text   { return step.T("unsorted-locks.mug") }
func shirtLabel() step.Text { return step.T("unsorted-locks.shirt") }

// deadlockInRows is the same with SELECT … FOR UPDATE.
func (e *Env) deadlockInRows(ctx context.Context, s *shelf) (*step.Stage, error) {
	a, err := e.session(ctx, s, "A")
	if err != nil {
		return nil, err
	}
	b, err := e.session(ctx, s, "B")
	if err != nil {
		return nil, err
	}
	failed := 0
	deadlock := func() { failed++ } // the server ends one transaction only
	return &step.Stage{
		Actors: []*step.Actor{
			a.actor(a.lock(mugLabel(), "", sku, deadlock), a.lock(shirtLabel(), "unsorted-locks.shirt.ask", shirt, deadlock), a.commit()),
			b.actor(b.lock(shirtLabel(), "", shirt, deadlock), b.lock(mugLabel(), "unsorted-locks.deadlock.ask", sku, deadlock), b.commit()),
		},
		Order: []string{"A", "B", "A", "B", "A", "B"},
		Look:  []step.Looker{s.lookLocks},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(failed == 1, "unsorted-locks.rows.claim")
			return nil
		},
	}, nil
}

// sortedCarts locks in one order: A and B in Redis, C and D in the database.
func (e *Env) sortedCarts(ctx context.Context, s *shelf) (*step.Stage, error) {
	products := slices.Sorted(slices.Values([]string{shirt, sku}))
	labels := []step.Text{mugLabel(), shirtLabel()}
	stage := &step.Stage{Order: []string{"A", "B", "A", "A", "B", "B", "C", "D", "C", "C", "D", "D"}, Look: []step.Looker{s.lookLocks}}
	var carts []*cart
	for _, name := range []string{"A", "B"} {
		c, err := e.cart(ctx, s, name, products)
		if err != nil {
			return nil, err
		}
		carts = append(carts, c)
		stage.Actors = append(stage.Actors, c.actor(c.lock(labels[0], ""), c.lock(labels[1], ""), c.reserve()))
	}
	failed := 0
	for _, name := range []string{"C", "D"} {
		c, err := e.session(ctx, s, name)
		if err != nil {
			return nil, err
		}
		deadlock := func() { failed++ }
		stage.Actors = append(stage.Actors, c.actor(
			c.lock(labels[0], "", products[0], deadlock), c.lock(labels[1], "", products[1], deadlock), c.commit()))
	}
	stage.End = func(_ context.Context, end *step.Ending) error {
		for _, c := range carts {
			if c.err != nil {
				failed++
			}
		}
		end.Check(failed == 0, "unsorted-locks.sorted.claim")
		return nil
	}
	return stage, nil
}
