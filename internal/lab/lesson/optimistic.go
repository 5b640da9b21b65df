package lesson

import (
	"context"
	"errors"
	"fmt"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventorylab"
)

func optimistic() Lesson {
	return Lesson{Name: "optimistic", Scenes: optimisticScenes, Takes: []string{paramBuyers}}
}

// maxTries ends the loop of the mistake; without this limit it never ends.
const maxTries = 50

func optimisticScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.shelf(ctx)
	if err != nil {
		return nil, err
	}
	return []step.Scene{
		e.scene(step.T("optimistic.hand"), func(ctx context.Context) (*step.Stage, error) {
			return e.newTransaction(ctx, s)
		}),
		e.scene(step.T("optimistic.trap"), func(ctx context.Context) (*step.Stage, error) {
			return e.oldSnapshot(ctx, s)
		}),
		e.exactRush(s, "optimistic.rush", "optimistic.rush.ask", "optimistic", "OPTIMISTIC", "lesson.recorded"),
	}, nil
}

// overtaken is a writer A whose version B has changed.
type overtaken struct {
	a, b    *call
	version string // that A has read
	tries   int    // of A's UPDATE
}

func (e *Env) overtaken(ctx context.Context, s *shelf, strategy, mistake string) (*overtaken, error) {
	if err := s.fill(ctx, 10); err != nil {
		return nil, err
	}
	a, err := e.call(ctx, s, "A", strategy, mistake)
	if err != nil {
		return nil, err
	}
	b, err := e.call(ctx, s, "B", "conditional", "")
	return &overtaken{a: a, b: b}, err
}

// read is a step that ends when A is about to write.
func (o *overtaken) read(ask string) step.Step {
	return step.Step{
		Label: step.T("optimistic.read"), Ask: ask,
		Do: o.a.run(beforeUpdate("stock"), func(p *inventorylab.Point, err error) (step.Result, error) {
			if p == nil {
				return step.Result{}, errors.Join(errEnded, err)
			}
			o.version = fmt.Sprint(p.Args[len(p.Args)-1]) // UPDATE … WHERE version = ?
			return step.Result{Text: step.T("optimistic.read.got", written(p.Args)+1, o.version)}, nil
		}),
	}
}

// sells is the step in which B sells one unit.
func (o *overtaken) sells(s *shelf) step.Step {
	return step.Step{Label: step.T("optimistic.sells"), Do: func(ctx context.Context) (step.Result, error) {
		result, err := o.b.run(nil, func(_ *inventorylab.Point, err error) (step.Result, error) { return step.Result{}, err })(ctx)
		if err != nil {
			return result, err
		}
		var available, version int64
		err = s.db.QueryRowContext(ctx, "SELECT available, version FROM stock WHERE sku = ?", sku).Scan(&available, &version)
		return step.Result{Text: step.T("optimistic.sells.got", available, version)}, err
	}}
}

// write is a step in which A sends its UPDATE: it ends before A's next statement, or with the call.
func (o *overtaken) write(ask string, ended func(err error) (step.Result, error)) step.Step {
	any := func(p inventorylab.Point) bool { return p.At == inventorylab.AtStatement }
	return step.Step{
		Label: step.T("optimistic.write"), Ask: ask,
		Do: o.a.run(any, func(p *inventorylab.Point, err error) (step.Result, error) {
			o.tries++
			if p == nil {
				return ended(err)
			}
			return step.Result{Text: step.T("optimistic.write.none", o.version)}, nil
		}),
	}
}

// newTransaction shows the strategy, which retries in a new transaction.
func (e *Env) newTransaction(ctx context.Context, s *shelf) (*step.Stage, error) {
	o, err := e.overtaken(ctx, s, "optimistic", "")
	if err != nil {
		return nil, err
	}
	sold := false
	ended := func(err error) (step.Result, error) {
		sold = err == nil
		return step.Result{Text: step.T("optimistic.write.got", o.version)}, err
	}
	return &step.Stage{
		Actors: []*step.Actor{
			o.a.actor(o.read(""), o.write("optimistic.write.ask", ended), o.read("optimistic.read.ask.new"), o.write("", ended)),
			o.b.actor(o.sells(s)),
		},
		Order: []string{"A", "B", "A", "A", "A"},
		Look:  append(s.look(), o.a.look),
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(o.tries == 2 && sold, "optimistic.hand.claim")
			return nil
		},
	}, nil
}

// oldSnapshot shows the mistake, which retries in the transaction, under REPEATABLE READ.
func (e *Env) oldSnapshot(ctx context.Context, s *shelf) (*step.Stage, error) {
	o, err := e.overtaken(ctx, s, "", "snapshot-loop")
	if err != nil {
		return nil, err
	}
	var last error
	ended := func(err error) (step.Result, error) { //nolint:unparam // The other scene's function returns errors.
		if last = err; err == nil {
			return step.Result{Text: step.T("optimistic.write.got", o.version), Leaves: true}, nil
		}
		// MariaDB with innodb_snapshot_isolation.
		return step.Result{Text: step.T("optimistic.write.ended", err), Leaves: true}, nil
	}
	more := step.Step{
		Label: step.T("optimistic.more"),
		Do: func(ctx context.Context) (r step.Result, err error) {
			read, write := o.read(""), o.write("", ended)
			for o.tries < maxTries && last == nil && err == nil {
				if _, err = read.Do(ctx); err == nil {
					_, err = write.Do(ctx)
				}
			}
			return step.Result{Text: step.T("optimistic.more.got", o.tries)}, err
		},
	}
	return &step.Stage{
		Actors: []*step.Actor{
			o.a.actor(o.read(""), o.write("optimistic.write.ask", ended), o.read("optimistic.read.ask.old"), o.write("", ended), more),
			o.b.actor(o.sells(s)),
		},
		Order: []string{"A", "B", "A", "A", "A", "A"},
		Look:  append(s.look(), o.a.look),
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(o.tries == maxTries || last != nil, "optimistic.trap.claim", o.tries)
			return nil
		},
	}, nil
}
