package lesson

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/pkg/mq"
	"holdfast/pkg/wait"
)

func messageTypes() Lesson {
	return Lesson{
		Name: "message-types", Scenes: messageTypesScenes, Messages: true, Roles: map[string]Role{"shop": placeInTx},
	}
}

const (
	typesTopic  = "order-status"
	typesGroup  = "order-view"
	typesOrder  = "ORD-1"
	typesOthers = 7 // further orders in the scene with ordered messages
)

const createOrders = `CREATE TABLE orders (
	order_no VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, status VARCHAR(16) NOT NULL)`

// setStatus is what the consumer does with each message: the last one wins.
const setStatus = "INSERT INTO orders (order_no, status) VALUES (?, ?) ON DUPLICATE KEY UPDATE status = VALUES(status)"

// messageScenes is what the lesson's scenes share.
type messageScenes struct {
	e      *Env
	broker *broker
	db     *stdsql.DB
	dsn    string

	namespace string // of the scene that is open
}

func messageTypesScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	b, err := e.broker(ctx)
	if err != nil {
		return nil, err
	}
	db, dsn, err := e.table(ctx, createOrders)
	if err != nil {
		return nil, err
	}
	m := &messageScenes{e: e, broker: b, db: db, dsn: dsn}
	return []step.Scene{
		e.scene(step.T("message-types.normal"), m.normal),
		e.scene(step.T("message-types.ordered"), m.ordered),
		e.scene(step.T("message-types.delayed", delayAsked), m.delayed),
		e.scene(step.T("message-types.transactional"), m.transactional),
		e.scene(step.T("message-types.poison", poisonAttempts), m.poison),
	}, nil
}

// open empties the table and starts a bus with a consumer, in a new namespace, and with what declare adds to it.
func (m *messageScenes) open(
	ctx context.Context, queues int, in *inbox, s mq.Subscription, declare ...func(*mq.Bus),
) (*mq.Bus, error) {
	if _, err := m.db.ExecContext(ctx, "DELETE FROM orders"); err != nil {
		return nil, err
	}
	s.Topic, s.Group, s.Timeout = typesTopic, typesGroup, thinking
	if s.Handler == nil {
		s.Handler = in.handle
	}
	m.namespace = m.broker.namespace()
	bus, err := m.broker.bus(ctx, m.namespace, mq.Topic{Name: typesTopic, Queues: queues}, func(b *mq.Bus) {
		b.Subscribe(s)
		for _, d := range declare {
			d(b)
		}
	})
	m.e.Clean(in.release)
	return bus, err
}

// status returns the order's status in the consumer's table.
func (m *messageScenes) status(ctx context.Context) (status string, err error) {
	err = m.db.QueryRowContext(ctx, "SELECT status FROM orders WHERE order_no = ?", typesOrder).Scan(&status)
	return status, err
}

func (m *messageScenes) look(ctx context.Context) (step.View, error) {
	s := &shelf{db: m.db}
	return s.lookRows(step.T("message-types.orders"), "SELECT order_no, status FROM orders ORDER BY order_no")(ctx)
}

// history is what happens to an order, in this order.
func history() []string { return []string{"CREATED", "PAID", "SHIPPED"} }

// sends is a step that sends the history of the order. The broker has each message before the next one is sent.
func (m *messageScenes) sends(bus *mq.Bus, shardKey string) step.Step {
	return step.Step{Label: step.T("message-types.sends"), Do: func(ctx context.Context) (step.Result, error) {
		for _, status := range history() {
			message := mq.Message{Topic: typesTopic, Key: typesOrder, ShardKey: shardKey, Body: []byte(status)}
			if err := bus.Producer().Send(ctx, message); err != nil {
				return step.Result{}, err
			}
		}
		return step.Result{}, nil
	}}
}

// begins is a step in which a message of the order comes to its handler, which does not end.
func (m *messageScenes) begins(in *inbox, status, ask string) step.Step {
	return step.Step{Label: step.T("message-types.begins", status), Ask: ask, Do: func(ctx context.Context) (step.Result, error) {
		return step.Result{}, in.await(ctx, m.e, typesOrder, status)
	}}
}

// ends is a step in which the handler of a message writes the status, and acknowledges.
func (m *messageScenes) ends(in *inbox, status, ask string) step.Step {
	return step.Step{
		Label: step.T("message-types.ends", status), Statement: setStatus, Ask: ask,
		Do: func(ctx context.Context) (step.Result, error) {
			if err := in.await(ctx, m.e, typesOrder, status); err != nil {
				return step.Result{}, err
			}
			_, err := m.db.ExecContext(ctx, setStatus, typesOrder, status)
			in.answer(typesOrder, status)
			return step.Result{}, err
		},
	}
}

// normal sends the history as normal messages: they go to several queues, and workers handle them side by side. The
// worker with the first one is slow: it ends after the others.
func (m *messageScenes) normal(ctx context.Context) (*step.Stage, error) {
	in := newInbox(func(mq.Message) bool { return true })
	bus, err := m.open(ctx, 4, in, mq.Subscription{Workers: 4})
	if err != nil {
		return nil, err
	}
	return &step.Stage{
		Notes: []step.Note{m.broker.note()},
		Actors: []*step.Actor{
			{Name: "order-srv", Steps: []step.Step{m.sends(bus, "")}},
			{Name: "W1", Steps: []step.Step{
				m.begins(in, "CREATED", "message-types.begins.ask"), m.ends(in, "CREATED", "message-types.late.ask"),
			}},
			{Name: "W2", Steps: []step.Step{m.ends(in, "PAID", "")}},
			{Name: "W3", Steps: []step.Step{m.ends(in, "SHIPPED", "")}},
		},
		Order: []string{"order-srv", "W1", "W2", "W3", "W1"},
		Look:  []step.Looker{m.look},
		End: func(ctx context.Context, end *step.Ending) error {
			status, err := m.status(ctx)
			end.Check(err == nil && status == "CREATED", "message-types.normal.claim", status)
			return err
		},
	}, nil
}

// quiet is how long a scene watches that a message does not come.
const quiet = 500 * time.Millisecond

// ordered sends the same with the order number as the shard key: one queue, one message at a time. Other orders do not
// wait for the slow one, unless they share its queue.
func (m *messageScenes) ordered(ctx context.Context) (*step.Stage, error) {
	in := newInbox(func(message mq.Message) bool { return message.Key == typesOrder })
	bus, err := m.open(ctx, 4, in, mq.Subscription{Ordered: true})
	if err != nil {
		return nil, err
	}
	sends := m.sends(bus, typesOrder)
	sendOwn := sends.Do
	sends.Label = step.T("message-types.sends.ordered", typesOthers)
	sends.Do = func(ctx context.Context) (step.Result, error) {
		r, err := sendOwn(ctx)
		for i := range typesOthers {
			if err == nil {
				other := fmt.Sprintf("ORD-%d", i+2)
				err = bus.Producer().Send(ctx, mq.Message{Topic: typesTopic, Key: other, ShardKey: other, Body: []byte("CREATED")})
			}
		}
		return r, err
	}
	others, overtaken := 0, 0
	watch := step.Step{Label: step.T("message-types.watch"), Ask: "message-types.watch.ask", Do: func(ctx context.Context) (step.Result, error) {
		if err := m.e.Until(ctx, "an order of another queue is handled", func(context.Context) (bool, error) {
			return len(in.all()) > len(in.of(typesOrder)), nil
		}); err != nil {
			return step.Result{}, err
		}
		err := wait.Sleep(ctx, quiet)
		overtaken = len(in.of(typesOrder)) - 1
		others = len(in.all()) - len(in.of(typesOrder))
		return step.Result{Text: step.T("message-types.watch.got", others, typesOthers, overtaken)}, err
	}}
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "order-srv", Steps: []step.Step{sends}},
			{Name: "W1", Steps: []step.Step{
				m.begins(in, "CREATED", ""), m.ends(in, "CREATED", ""), m.ends(in, "PAID", ""), m.ends(in, "SHIPPED", ""),
			}},
			{Steps: []step.Step{watch}},
		},
		Order: []string{"order-srv", "W1", "", "W1", "W1", "W1"},
		Look:  []step.Looker{m.look},
		End: func(ctx context.Context, end *step.Ending) error {
			status, err := m.status(ctx)
			end.Check(err == nil && status == "SHIPPED" && overtaken == 0, "message-types.ordered.claim", status)
			end.Check(others > 0, "message-types.others.claim", others)
			return err
		},
	}, nil
}

// The delayed messages.
const (
	delayAsked    = 2 * time.Second
	delayMessages = 10
)

// delayed measures how exactly a broker keeps a delay.
func (m *messageScenes) delayed(ctx context.Context) (*step.Stage, error) {
	in := newInbox(nil)
	bus, err := m.open(ctx, 4, in, mq.Subscription{})
	if err != nil {
		return nil, err
	}
	due := map[string]time.Time{}
	sends := step.Step{Label: step.T("message-types.delayed.sends", delayMessages, delayAsked), Do: func(ctx context.Context) (step.Result, error) {
		for i := range delayMessages {
			key := fmt.Sprintf("ORD-%d", i+1)
			due[key] = time.Now().Add(delayAsked)
			message := mq.Message{Topic: typesTopic, Key: key, Body: []byte("UNPAID"), DeliverAt: due[key]}
			if err := bus.Producer().Send(ctx, message); err != nil {
				return step.Result{}, err
			}
		}
		return step.Result{}, nil
	}}
	var first, last time.Duration
	receives := step.Step{
		Label: step.T("message-types.delayed.receives"), Ask: "message-types.delayed.ask",
		Do: func(ctx context.Context) (step.Result, error) {
			if err := m.e.Until(ctx, "all delayed messages are delivered", func(context.Context) (bool, error) {
				return len(in.all()) >= delayMessages, nil
			}); err != nil {
				return step.Result{}, err
			}
			first, last = lateness(in.all(), due)
			return step.Result{Text: step.T("message-types.delayed.got", first.Milliseconds(), last.Milliseconds())}, nil
		},
	}
	return &step.Stage{
		Actors: []*step.Actor{{Name: "order-srv", Steps: []step.Step{sends}}, {Name: "W1", Steps: []step.Step{receives}}},
		Order:  []string{"order-srv", "W1"},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(first >= 0, "message-types.delayed.claim", delayMessages, last.Milliseconds())
			return nil
		},
	}, nil
}

// lateness returns how late the most punctual and the latest delivery came. A negative time is an early delivery.
func lateness(got []delivery, due map[string]time.Time) (first, last time.Duration) {
	for i, d := range got {
		late := d.at.Sub(due[d.Key])
		if i == 0 {
			first = late
		}
		first, last = min(first, late), max(last, late)
	}
	return first, last
}

// poisonAttempts is how often the broker delivers a message before it becomes a dead letter.
const poisonAttempts = 3

// poison sends a message that the consumer cannot handle, and one behind it that it can.
func (m *messageScenes) poison(ctx context.Context) (*step.Stage, error) {
	p := &poison{m: m, in: newInbox(nil)}
	bus, err := m.open(ctx, 1, p.in, mq.Subscription{MaxAttempts: poisonAttempts, Workers: 1, Handler: p.handle})
	if err != nil {
		return nil, err
	}
	p.bus = bus
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "order-srv", Steps: []step.Step{p.sends()}},
			{Name: "W1", Steps: []step.Step{p.fails(1), p.next(), p.fails(2), p.fails(3), p.handles()}},
			{Name: "operator", Steps: []step.Step{p.lists(), p.resends()}},
		},
		Order: []string{"order-srv", "W1", "W1", "W1", "W1", "operator", "operator", "W1"},
		Look:  []step.Looker{m.look},
		End: func(ctx context.Context, end *step.Ending) error {
			left, err := bus.DeadLetters(ctx, typesGroup, 10)
			if err != nil {
				return err
			}
			end.Check(p.failed == poisonAttempts && p.letters == 1, "message-types.poison.dead.claim", p.failed)
			end.Check(p.passed, "message-types.poison.next.claim")
			end.Check(len(left) == 0 && p.handled, "message-types.poison.resent.claim")
			return nil
		},
	}, nil
}
