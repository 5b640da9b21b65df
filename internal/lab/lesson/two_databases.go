package lesson

import (
	"context"
	"fmt"
	"maps"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
)

func twoDatabases() Lesson {
	roles := serviceRoles()
	maps.Copy(roles, map[string]Role{"writer": writeByHand})
	return Lesson{Name: "two-databases", Scenes: twoDatabasesScenes, Roles: roles}
}

// agreement is what a flow came to: how long the two databases disagreed, and how the order ended after the crash.
type agreement struct {
	answer          string // to the buyer, without a crash
	quiet, crashed  time.Duration
	between, status string // of the order while its process was dead, and at the end
	reserved        int64  // for the order, while its process was dead
	agreed          bool
}

// flowsCompared are the flows of the table.
func flowsCompared() []string { return []string{"tx-message", "outbox", "queue"} }

func twoDatabasesScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.services(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.orders.ExecContext(ctx, createByHand); err != nil {
		return nil, err
	}
	scenes := []step.Scene{
		e.scene(step.T("two-databases.stock-first"), s.stockFirst),
		e.scene(step.T("two-databases.order-first"), s.orderFirst),
	}
	results := map[string]*agreement{}
	for _, flow := range flowsCompared() {
		results[flow] = &agreement{}
		scenes = append(scenes, e.scene(step.T("two-databases."+flow), func(ctx context.Context) (*step.Stage, error) {
			*results[flow] = agreement{}
			return s.agreeing(ctx, flow, results[flow])
		}))
	}
	return append(scenes, e.scene(step.T("two-databases.results"), func(context.Context) (*step.Stage, error) {
		return &step.Stage{End: func(_ context.Context, end *step.Ending) error {
			checkTwoDatabases(results, end)
			return nil
		}}, nil
	})), nil
}

func checkTwoDatabases(results map[string]*agreement, end *step.Ending) {
	table := [][]any{{
		"", step.T("two-databases.answer"), step.T("two-databases.quiet"), step.T("two-databases.crashed"), step.T("two-databases.ended"),
	}}
	for _, flow := range flowsCompared() {
		r := results[flow]
		table = append(table, []any{flow, r.answer, rounded(r.quiet).String(), rounded(r.crashed).String(), r.status})
	}
	end.Table(table...)
	for _, flow := range flowsCompared() {
		r := results[flow]
		want := orderapi.StatusPlaced
		if flow == "tx-message" {
			want = orderapi.StatusAbandoned
		}
		disagreed := r.between == orderapi.StatusPending && r.reserved == halfOrdered
		end.Check(disagreed && r.agreed && r.status == want, "two-databases."+flow+".claim", want)
	}
}

// stockFirst writes the stock, and dies before it writes the order.
func (s *services) stockFirst(ctx context.Context) (*step.Stage, error) {
	w, err := s.writer(ctx)
	if err != nil {
		return nil, err
	}
	return &step.Stage{
		Actors: []*step.Actor{{Name: "A", Steps: []step.Step{w.does("take", takeByHand), w.dies("two-databases.stock-first.ask")}}},
		Order:  []string{"A", "A"},
		Look:   w.look(),
		End: func(ctx context.Context, end *step.Ending) error {
			orders, err := w.written(ctx)
			if err != nil {
				return err
			}
			c, err := s.counts(ctx, w.sku)
			end.Check(orders == 0 && c.available == halfUnits-halfOrdered, "two-databases.stock-first.claim", halfOrdered)
			return err
		},
	}, nil
}

// orderFirst writes the order, and dies before it writes the stock. Another buyer then gets all units.
func (s *services) orderFirst(ctx context.Context) (*step.Stage, error) {
	w, err := s.writer(ctx)
	if err != nil {
		return nil, err
	}
	all := step.Step{
		Label: step.T("two-databases.all", halfUnits), Ask: "two-databases.order-first.ask", Statement: takeByHand,
		Do: func(ctx context.Context) (step.Result, error) {
			taken, err := affected(s.stock.ExecContext(ctx, takeByHand, halfUnits, w.sku, halfUnits))
			if err != nil || taken == 0 {
				return step.Result{}, fmt.Errorf("take %d units: %d rows, %w", halfUnits, taken, err)
			}
			_, err = s.orders.ExecContext(ctx, insertByHand, fresh("order"))
			return step.Result{}, err
		},
	}
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{w.does("insert", "BEGIN; "+insertByHand), w.does("commit", "COMMIT"), w.dies("")}},
			{Name: "B", Steps: []step.Step{all}},
		},
		Order: []string{"A", "A", "A", "B"},
		Look:  w.look(),
		End: func(ctx context.Context, end *step.Ending) error {
			orders, err := w.written(ctx)
			if err != nil {
				return err
			}
			c, err := s.counts(ctx, w.sku)
			end.Check(orders == 1 && c.available == 0, "two-databases.order-first.claim", halfOrdered+halfUnits, halfUnits)
			return err
		},
	}, nil
}

// agreeing places an order with a flow, and another one whose process dies when its units are reserved.
func (s *services) agreeing(ctx context.Context, flow string, r *agreement) (*step.Stage, error) {
	setting := "ORDER_FLOW=" + flow
	first, err := s.sale(ctx, setting)
	if err != nil {
		return nil, err
	}
	second := &sale{services: s, sku: fresh("MUG"), user: fresh("user")}
	if err := receive(ctx, s.inventory, second.sku, halfUnits); err != nil {
		return nil, err
	}
	hold := answers
	if flow == "outbox" {
		hold = none
	}
	buys := first.buys(none)
	again := second.buys(hold)
	buys.Steps = append(buys.Steps, again.Steps...)
	buys.Blocked = again.Blocked
	agrees := first.agrees("", func(took time.Duration, status string) { r.quiet, r.answer = took, status })
	healed := second.agrees("two-databases.agrees.ask", func(took time.Duration, status string) {
		r.crashed, r.status, r.agreed = took, status, true
	})
	return &step.Stage{
		Actors: []*step.Actor{
			buys,
			{Name: "order-srv", Steps: []step.Step{agrees, second.diesReserved(flow, r), second.restarts("services.restarts", "order-srv", setting), healed}},
			{Name: "", Steps: []step.Step{second.holdsBack(flow)}},
		},
		Order: []string{"A", "order-srv", "", "A", "order-srv", "order-srv", "order-srv"},
		Look:  append(first.look(), second.look()[:2]...),
	}, nil
}

// holdsBack keeps inventory-srv's answer by message from order-srv until the broker is healed. The other flows call
// inventory-srv, over the cable.
func (s *sale) holdsBack(flow string) step.Step {
	return step.Step{Label: step.T("two-databases.next"), Do: func(context.Context) (step.Result, error) {
		if flow == "outbox" {
			s.broker.Reorder(inventoryapi.TopicStockReserved, 2) // the second one never comes
		}
		return step.Result{}, nil
	}}
}

// diesReserved kills order-srv when the units are reserved, and reads what the two databases have.
func (s *sale) diesReserved(flow string, r *agreement) step.Step {
	return step.Step{Label: step.T("two-databases.dies"), Do: func(ctx context.Context) (step.Result, error) {
		err := s.e.Until(ctx, "the units are reserved", func(ctx context.Context) (bool, error) {
			c, err := s.counts(ctx, s.sku)
			return c.reserved == halfOrdered, err
		})
		if err != nil {
			return step.Result{}, err
		}
		if err := s.order.Kill(); err != nil {
			return step.Result{}, err
		}
		s.began = time.Now()
		if flow == "outbox" {
			s.broker.Heal()
		}
		o, err := s.find(ctx, s.user)
		if err != nil {
			return step.Result{}, err
		}
		c, err := s.counts(ctx, s.sku)
		r.between, r.reserved = o.status, c.reserved
		return step.Result{Text: step.T("two-databases.dies.got", o.status, c.reserved)}, err
	}}
}

// agrees is a step that waits until both databases say the same of the order.
func (s *sale) agrees(ask string, result func(took time.Duration, status string)) step.Step {
	return step.Step{Label: step.T("two-databases.agrees"), Ask: ask, Do: func(ctx context.Context) (step.Result, error) {
		var o found
		err := s.e.Until(ctx, "both databases agree", func(ctx context.Context) (_ bool, err error) {
			if o, err = s.find(ctx, s.user); err != nil {
				return false, err
			}
			c, err := s.counts(ctx, s.sku)
			switch o.status {
			case orderapi.StatusPlaced:
				return c.reserved == halfOrdered, err
			case orderapi.StatusAbandoned, orderapi.StatusRejected:
				return c.reserved == 0, err
			}
			return false, err
		})
		took := time.Since(s.began)
		result(took, o.status)
		return step.Result{Text: step.T("two-databases.agrees.got", rounded(took), o.status)}, err
	}}
}
