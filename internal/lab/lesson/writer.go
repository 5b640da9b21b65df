package lesson

import (
	"context"
	stdsql "database/sql"
	"fmt"

	"holdfast/internal/lab/step"
	"holdfast/pkg/mq"
)

// topicCreated is the topic of the hand-written order service: an order was created.
const topicCreated = "lesson-order-created"

// writeByHand is a hand-written order service: it inserts an order, sends a message and takes units, each when the
// lesson says so. Args: DSN of the orders, DSN of the stock, name server (only if it sends).
func writeByHand(ctx context.Context, c *Child) error {
	db, err := stdsql.Open("mysql", c.Args[0])
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing can be done about it
	stock, err := stdsql.Open("mysql", c.Args[1])
	if err != nil {
		return err
	}
	defer stock.Close() //nolint:errcheck // nothing can be done about it
	var bus *mq.Bus
	if len(c.Args) > 2 {
		var closing func(context.Context) error
		if bus, closing, err = startBus(ctx, c.Args[2], "", mq.Topic{Name: topicCreated}, nil); err != nil {
			return err
		}
		defer closing(context.WithoutCancel(ctx)) //nolint:errcheck // nothing can be done about it
	}
	c.Report("ready")
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for {
		order, err := c.Order(ctx)
		if err != nil {
			return nil // the lesson has ended
		}
		var what, id string
		if _, err := fmt.Sscan(order, &what, &id); err != nil {
			return err
		}
		switch what {
		case "take":
			_, err = stock.ExecContext(ctx, takeByHand, halfOrdered, id, halfOrdered)
		case "insert":
			_, err = tx.ExecContext(ctx, insertByHand, id)
		case "commit":
			err = tx.Commit()
		case "send":
			err = bus.Producer().Send(ctx, mq.Message{Topic: topicCreated, Key: id, Body: []byte(id)})
		}
		if err != nil {
			return err
		}
		c.Report("%s", what)
	}
}

// The statements of the hand-written order service and of its consumer.
const (
	createByHand = "CREATE TABLE hand_orders (id VARCHAR(32) PRIMARY KEY)"
	insertByHand = "INSERT INTO hand_orders (id) VALUES (?)"
	takeByHand   = "UPDATE stock SET available = available - ? WHERE sku = ? AND available >= ?"
)

// writer is the actor of a hand-written order service.
type writer struct {
	s       *services
	id, sku string // of its order
	process *Process
}

// writer starts a hand-written order service. namesrv is the name server of the broker to which it sends; none: it
// does not send.
func (s *services) writer(ctx context.Context, namesrv ...string) (*writer, error) {
	w := &writer{s: s, id: fresh("order"), sku: fresh("MUG")}
	err := receive(ctx, s.inventory, w.sku, halfUnits)
	if err != nil {
		return nil, err
	}
	if w.process, err = s.e.Start("writer", append([]string{s.ordersDSN, s.stockDSN}, namesrv...)...); err != nil {
		return nil, err
	}
	_, err = w.process.Await(ctx, "ready")
	return w, err
}

// does is a step in which the process executes an order of the lesson.
func (w *writer) does(what, statement string) step.Step {
	return step.Step{Label: step.T("services." + what), Statement: statement, Do: func(ctx context.Context) (step.Result, error) {
		subject := w.id
		if what == "take" {
			subject = w.sku
		}
		if err := w.process.Tell(what + " " + subject); err != nil {
			return step.Result{}, err
		}
		_, err := w.process.Await(ctx, what)
		return step.Result{}, err
	}}
}

func (w *writer) dies(ask string) step.Step {
	return step.Step{Label: step.T("services.dies"), Ask: ask, Do: func(context.Context) (step.Result, error) {
		return step.Result{}, w.process.Kill()
	}}
}

// written counts the committed rows of the order.
func (w *writer) written(ctx context.Context) (n int, err error) {
	err = w.s.orders.QueryRowContext(ctx, "SELECT COUNT(*) FROM hand_orders WHERE id = ?", w.id).Scan(&n)
	return n, err
}

func (w *writer) look() []step.Looker {
	return []step.Looker{
		lookQuery(w.s.orders, step.T("services.order"), "SELECT id FROM hand_orders WHERE id = ?", w.id),
		lookQuery(w.s.stock, step.T("step.row"), "SELECT available FROM stock WHERE sku = ?", w.sku),
	}
}
