package lesson

import (
	"context"

	"holdfast/internal/lab/step"
	"holdfast/order-srv/orderapi"
)

func reliableMessage() Lesson {
	return Lesson{Name: "reliable-message", Scenes: reliableMessageScenes, Roles: serviceRoles()}
}

// The buyer of reliable-message orders some of the units that there are.
const halfUnits, halfOrdered = 10, 3

// halfEnd is what a scene came to.
type halfEnd struct {
	name      string
	status    string
	counts    counts
	delivered int
}

func reliableMessageScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.services(ctx)
	if err != nil {
		return nil, err
	}
	ends := map[string]halfEnd{}
	scene := func(name string, stage func(*sale) *step.Stage) step.Scene {
		return e.scene(step.T("reliable-message."+name), func(ctx context.Context) (*step.Stage, error) {
			one, err := s.sale(ctx)
			if err != nil {
				return nil, err
			}
			open := stage(one)
			open.Look = one.look()
			open.End = func(ctx context.Context, _ *step.Ending) error {
				end, err := one.end(ctx, name)
				ends[name] = end
				return err
			}
			return open, nil
		})
	}
	return []step.Scene{
		scene("decided", halfDecided),
		scene("silent", halfSilent),
		scene("asked", halfAsked),
		scene("late", halfLate),
		e.scene(step.T("reliable-message.results"), func(context.Context) (*step.Stage, error) {
			return &step.Stage{End: func(_ context.Context, end *step.Ending) error {
				checkReliableMessage(ends, end)
				return nil
			}}, nil
		}),
	}, nil
}

// end reads what the scene came to.
func (s *sale) end(ctx context.Context, name string) (end halfEnd, err error) {
	o, err := s.find(ctx, s.user)
	if err != nil {
		return end, err
	}
	end = halfEnd{name: name, status: o.status, delivered: s.released.of(o.number)}
	end.counts, err = s.counts(ctx, s.sku)
	return end, err
}

// halfDecided is an order without a crash: its half message is rolled back.
func halfDecided(s *sale) *step.Stage {
	rollback := step.Step{Label: step.T("reliable-message.rollback"), Ask: "reliable-message.rollback.ask", Do: func(ctx context.Context) (step.Result, error) {
		return step.Result{}, s.e.Until(ctx, "the half message has ended", func(context.Context) (bool, error) {
			return s.broker.OpenTransactions() == 0, nil
		})
	}}
	return &step.Stage{
		Actors: []*step.Actor{s.buys(none), {Name: "broker", Steps: []step.Step{rollback}}},
		Order:  []string{"A", "broker"},
	}
}

// halfSilent kills order-srv after inventory has reserved; its successor answers no question.
func halfSilent(s *sale) *step.Stage {
	asks := step.Step{Label: step.T("reliable-message.asks"), Ask: "reliable-message.asks.ask", Do: func(ctx context.Context) (step.Result, error) {
		const questions = 3
		before := s.broker.Questions()
		err := s.e.Until(ctx, "the broker has asked", func(context.Context) (bool, error) {
			return s.broker.Questions() >= before+questions, nil
		})
		return step.Result{Text: step.T("reliable-message.asks.got", questions)}, err
	}}
	return &step.Stage{
		Actors: []*step.Actor{
			s.buys(answers),
			{Name: "order-srv", Steps: []step.Step{s.dies(), s.restarts("reliable-message.restarts.silent", "order-srv-without-check-back")}},
			{Name: "broker", Steps: []step.Step{asks}},
		},
		Order: []string{"A", "order-srv", "order-srv", "broker"},
	}
}

// halfAsked is the same with the check-back.
func halfAsked(s *sale) *step.Stage {
	return &step.Stage{
		Actors: []*step.Actor{
			s.buys(answers),
			{Name: "order-srv", Steps: []step.Step{
				s.dies(), s.restarts("services.restarts", "order-srv"),
				s.becomes("reliable-message.answers", "reliable-message.answers.ask", orderapi.StatusAbandoned),
			}},
			{Name: "inventory-srv", Steps: []step.Step{s.receives(), s.stocked("reliable-message.releases", halfUnits)}},
		},
		Order: []string{"A", "order-srv", "order-srv", "order-srv", "inventory-srv", "inventory-srv"},
	}
}

// receives is a step that waits for the delivery of the message.
func (s *sale) receives() step.Step {
	return step.Step{Label: step.T("reliable-message.receives"), Do: func(ctx context.Context) (step.Result, error) {
		o, err := s.find(ctx, s.user)
		if err != nil {
			return step.Result{}, err
		}
		return step.Result{}, s.e.Until(ctx, "the message is delivered", func(context.Context) (bool, error) {
			return s.released.of(o.number) > 0, nil
		})
	}}
}

// tombstone waits until inventory has recorded that the order is closed, although nothing was reserved for it.
func (s *sale) tombstone() step.Step {
	return step.Step{Label: step.T("reliable-message.tombstone"), Do: func(ctx context.Context) (step.Result, error) {
		o, err := s.find(ctx, s.user)
		if err != nil {
			return step.Result{}, err
		}
		return step.Result{}, s.e.Until(ctx, "the order has a tombstone", func(ctx context.Context) (bool, error) {
			states, err := s.inventory.States(ctx, []string{o.number})
			return states[o.number] != "", err
		})
	}}
}

// halfLate kills order-srv while its call to inventory is on the way: it arrives after the order was abandoned.
func halfLate(s *sale) *step.Stage {
	arrives := step.Step{Label: step.T("reliable-message.arrives"), Ask: "reliable-message.arrives.ask", Do: func(ctx context.Context) (step.Result, error) {
		s.cable.Pass()
		err := s.e.Until(ctx, "inventory answers", func(context.Context) (bool, error) { return s.cable.Replied(`"closed"`), nil })
		return step.Result{Text: step.T("reliable-message.arrives.got", "closed")}, err
	}}
	return &step.Stage{
		Actors: []*step.Actor{
			s.buys(calls),
			{Name: "order-srv", Steps: []step.Step{
				s.dies(), s.restarts("services.restarts", "order-srv"), s.becomes("reliable-message.answers", "", orderapi.StatusAbandoned),
			}},
			{Name: "inventory-srv", Steps: []step.Step{s.receives(), s.tombstone()}},
			{Steps: []step.Step{arrives}},
		},
		Order: []string{"A", "order-srv", "order-srv", "order-srv", "inventory-srv", "inventory-srv", ""},
	}
}

func checkReliableMessage(ends map[string]halfEnd, end *step.Ending) {
	table := [][]any{{
		"", step.T("services.order"), step.T("services.available"), step.T("services.reserved"), step.T("reliable-message.delivered"),
	}}
	for _, name := range []string{"decided", "silent", "asked", "late"} {
		r := ends[name]
		table = append(table, []any{step.T("reliable-message." + name + ".row"), r.status, r.counts.available, r.counts.reserved, r.delivered})
	}
	end.Table(table...)
	decided, silent, asked, late := ends["decided"], ends["silent"], ends["asked"], ends["late"]
	taken, free := counts{halfUnits - halfOrdered, halfOrdered}, counts{halfUnits, 0}
	end.Check(decided.status == orderapi.StatusPlaced && decided.counts == taken && decided.delivered == 0, "reliable-message.decided.claim")
	end.Check(silent.status == orderapi.StatusPending && silent.counts == taken && silent.delivered == 0, "reliable-message.silent.claim", halfOrdered)
	end.Check(asked.status == orderapi.StatusAbandoned && asked.counts == free && asked.delivered >= 1, "reliable-message.asked.claim", halfOrdered)
	end.Check(late.status == orderapi.StatusAbandoned && late.counts == free && late.delivered >= 1, "reliable-message.late.claim")
}
