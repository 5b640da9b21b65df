package lesson

import (
	"context"
	"errors"
	"maps"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/order-srv/orderapi"
	"holdfast/order-srv/orderlab"
)

func localMessageTable() Lesson {
	roles := serviceRoles()
	maps.Copy(roles, map[string]Role{"writer": writeByHand, "order-srv-that-publishes": publishOnly})
	return Lesson{Name: "local-message-table", Scenes: localMessageTableScenes, Roles: roles}
}

// publishOnly is order-srv whose relay sends a message, and does not mark it until the process ends.
func publishOnly(ctx context.Context, c *Child) error {
	return orderlab.Serve(ctx, orderlab.Config{Settings: settingsOf(c.Args), Started: c.serves, Published: func() {
		c.Report("published")
		<-ctx.Done()
	}})
}

// tableEnd is what a scene of local-message-table came to: orders in the database, messages delivered, units taken.
type tableEnd struct {
	orders, messages int
	taken            int64
}

func localMessageTableScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.services(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.orders.ExecContext(ctx, createByHand); err != nil {
		return nil, err
	}
	created, err := e.listen(ctx, s.broker.Addr(), topicCreated)
	if err != nil {
		return nil, err
	}
	reserves, err := e.listen(ctx, s.broker.Addr(), orderapi.TopicStockReserve)
	if err != nil {
		return nil, err
	}
	ends, replay := map[string]tableEnd{}, false
	scene := func(name string, open func(context.Context) (*step.Stage, error)) step.Scene {
		return e.scene(step.T("local-message-table."+name), open)
	}
	return []step.Scene{
		scene("before", func(ctx context.Context) (*step.Stage, error) {
			return s.sentBeforeCommit(ctx, created, func(end tableEnd) { ends["before"] = end })
		}),
		scene("after", func(ctx context.Context) (*step.Stage, error) {
			return s.sentAfterCommit(ctx, created, func(end tableEnd) { ends["after"] = end })
		}),
		scene("table", func(ctx context.Context) (*step.Stage, error) {
			if replay {
				if err := s.settle(ctx); err != nil {
					return nil, err
				}
			}
			replay = true
			return s.sentByRelay(ctx, reserves, func(end tableEnd) { ends["table"] = end })
		}),
		scene("offset", func(ctx context.Context) (*step.Stage, error) {
			return e.polling(ctx, "offset", true, []int64{2})
		}),
		scene("unsent", func(ctx context.Context) (*step.Stage, error) {
			return e.polling(ctx, "unsent", false, []int64{2, 1})
		}),
		scene("results", func(context.Context) (*step.Stage, error) {
			return &step.Stage{End: func(_ context.Context, end *step.Ending) error {
				checkLocalMessageTable(ends, end)
				return nil
			}}, nil
		}),
	}, nil
}

func checkLocalMessageTable(ends map[string]tableEnd, end *step.Ending) {
	table := [][]any{{"", step.T("local-message-table.orders"), step.T("local-message-table.messages"), step.T("local-message-table.taken")}}
	for _, name := range []string{"before", "after", "table"} {
		r := ends[name]
		table = append(table, []any{step.T("local-message-table." + name + ".row"), r.orders, r.messages, r.taken})
	}
	end.Table(table...)
	end.Check(ends["before"] == tableEnd{orders: 0, messages: 1, taken: halfOrdered}, "local-message-table.before.claim")
	end.Check(ends["after"] == tableEnd{orders: 1, messages: 0, taken: 0}, "local-message-table.after.claim")
	relayed := ends["table"]
	end.Check(relayed.orders == 1 && relayed.messages >= 2 && relayed.taken == halfOrdered, "local-message-table.table.claim")
}

// end reads what the scene came to.
func (w *writer) end(ctx context.Context, created *deliveries) (end tableEnd, err error) {
	end.messages = created.of(w.id)
	if end.orders, err = w.written(ctx); err != nil {
		return end, err
	}
	c, err := w.s.counts(ctx, w.sku)
	end.taken = halfUnits - c.available
	return end, err
}

// tells is the end of a stage: result gets what the scene came to.
func (w *writer) tells(created *deliveries, result func(tableEnd)) func(context.Context, *step.Ending) error {
	return func(ctx context.Context, _ *step.Ending) error {
		end, err := w.end(ctx, created)
		result(end)
		return err
	}
}

// sentBeforeCommit sends the message inside the transaction, and dies before the COMMIT.
func (s *services) sentBeforeCommit(ctx context.Context, created *deliveries, result func(tableEnd)) (*step.Stage, error) {
	w, err := s.writer(ctx, s.broker.Addr())
	if err != nil {
		return nil, err
	}
	receives := step.Step{Label: step.T("local-message-table.receives"), Ask: "local-message-table.receives.ask", Statement: takeByHand, Do: func(ctx context.Context) (step.Result, error) {
		if err := s.e.Until(ctx, "the message is delivered", func(context.Context) (bool, error) { return created.of(w.id) > 0, nil }); err != nil {
			return step.Result{}, err
		}
		if _, err := s.stock.ExecContext(ctx, takeByHand, halfOrdered, w.sku, halfOrdered); err != nil {
			return step.Result{}, err
		}
		n, err := w.written(ctx)
		return step.Result{Text: step.T("local-message-table.receives.got", halfOrdered, n)}, err
	}}
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{w.does("insert", "BEGIN; "+insertByHand), w.does("send", ""), w.dies("")}},
			{Name: "B", Steps: []step.Step{receives}},
		},
		Order: []string{"A", "A", "A", "B"},
		Look:  w.look(),
		End:   w.tells(created, result),
	}, nil
}

// sentAfterCommit dies between the COMMIT and the send. Another process sends the message of another order then, so
// that it is certain that the first message is not late, but lost.
func (s *services) sentAfterCommit(ctx context.Context, created *deliveries, result func(tableEnd)) (*step.Stage, error) {
	w, err := s.writer(ctx, s.broker.Addr())
	if err != nil {
		return nil, err
	}
	next, err := s.writer(ctx, s.broker.Addr())
	if err != nil {
		return nil, err
	}
	restarts := step.Step{Label: step.T("local-message-table.restarts"), Ask: "local-message-table.restarts.ask", Do: func(ctx context.Context) (step.Result, error) {
		for _, what := range []string{"insert", "commit", "send"} {
			if _, err := next.does(what, "").Do(ctx); err != nil {
				return step.Result{}, err
			}
		}
		return step.Result{}, s.e.Until(ctx, "the next message is delivered", func(context.Context) (bool, error) { return created.of(next.id) > 0, nil })
	}}
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{w.does("insert", "BEGIN; "+insertByHand), w.does("commit", "COMMIT"), w.dies(""), restarts}},
		},
		Order: []string{"A", "A", "A", "A"},
		Look:  w.look(),
		End:   w.tells(created, result),
	}, nil
}

// settle lets an order-srv end what an earlier play of the scene has left: the relay that stops after a message would
// send one of that order, and never come to the new order's if both are in the same shard.
func (s *services) settle(ctx context.Context) error {
	if err := s.startOrders(ctx, "order-srv"); err != nil {
		return err
	}
	err := s.e.Until(ctx, "the order of the earlier play is decided and its messages are sent", func(ctx context.Context) (bool, error) {
		var left int
		err := s.orders.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM orders WHERE status = 'PENDING') +
			(SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL)`).Scan(&left)
		return left == 0, err
	})
	return errors.Join(err, s.order.Kill())
}

// sentByRelay is order-srv with the flow outbox. It is killed when its relay has sent the message and has not marked
// it.
func (s *services) sentByRelay(ctx context.Context, reserves *deliveries, result func(tableEnd)) (*step.Stage, error) {
	const flow = "ORDER_FLOW=outbox"
	one := &sale{services: s, sku: fresh("MUG"), user: fresh("user")}
	if err := s.startOrders(ctx, "order-srv-that-publishes", flow); err != nil {
		return nil, err
	}
	if err := receive(ctx, s.inventory, one.sku, halfUnits); err != nil {
		return nil, err
	}
	delivered := func(ctx context.Context, times int) error {
		o, err := one.find(ctx, one.user)
		if err != nil {
			return err
		}
		return s.e.Until(ctx, "the message is delivered", func(context.Context) (bool, error) { return reserves.of(o.number) >= times, nil })
	}
	publishes := step.Step{Label: step.T("local-message-table.publishes"), Do: func(ctx context.Context) (step.Result, error) {
		if _, err := one.order.Await(ctx, "published"); err != nil {
			return step.Result{}, err
		}
		if err := delivered(ctx, 1); err != nil {
			return step.Result{}, err
		}
		return step.Result{}, one.order.Freeze() // while the reader thinks, it does not send again
	}}
	again := step.Step{Label: step.T("local-message-table.again"), Ask: "local-message-table.again.ask", Do: func(ctx context.Context) (step.Result, error) {
		start := time.Now()
		err := delivered(ctx, 2)
		return step.Result{Text: step.T("local-message-table.again.got", rounded(time.Since(start)))}, err
	}}
	look := append(one.look(), lookQuery(s.orders, step.T("local-message-table.outbox"), "SELECT id, topic, sent_at FROM outbox"))
	return &step.Stage{
		Actors: []*step.Actor{
			one.buys(none),
			{Name: "order-srv", Steps: []step.Step{
				publishes, one.dies(), one.restarts("services.restarts", "order-srv", flow), again,
				one.becomes("services.becomes", "", orderapi.StatusPlaced),
			}},
		},
		Order: []string{"A", "order-srv", "order-srv", "order-srv", "order-srv", "order-srv"},
		Look:  look,
		End: func(ctx context.Context, _ *step.Ending) error {
			o, err := one.find(ctx, one.user)
			if err != nil {
				return err
			}
			end := tableEnd{messages: reserves.of(o.number)}
			if o.number != "" {
				end.orders = 1
			}
			c, err := s.counts(ctx, one.sku)
			end.taken = halfUnits - c.available
			result(end)
			return err
		},
	}, nil
}
