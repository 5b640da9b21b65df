package lesson

import (
	"context"
	stdsql "database/sql"
	"fmt"

	"holdfast/pkg/mq"
)

// sendOrder is a role: it sends the order, and would then record that it has sent it. Args: name server, namespace.
func sendOrder(ctx context.Context, c *Child) error {
	bus, closing, err := startBus(ctx, c.Args[0], c.Args[1], mq.Topic{Name: duplicatesTopic, Queues: 1}, nil)
	if err != nil {
		return err
	}
	defer closing(context.WithoutCancel(ctx)) //nolint:errcheck // nothing can be done about it
	m := mq.Message{Topic: duplicatesTopic, Key: duplicatesOrder, Body: []byte(`{"sku":"` + sku + `","quantity":1}`)}
	if err := bus.Producer().Send(ctx, m); err != nil {
		return err
	}
	c.Report("sent")
	_, err = c.Order(ctx) // the process is killed here, or ends with the scene
	return err
}

// consumeOrders is a role: a consumer that stops after its COMMIT, and before it acknowledges the message, until the
// lesson decides. Args: name server, namespace, DSN, guard.
func consumeOrders(ctx context.Context, c *Child) error {
	db, closeDB, err := openPool(ctx, c.Args[2])
	if err != nil {
		return err
	}
	defer closeDB() //nolint:errcheck // nothing can be done about it
	h := &orderHandler{child: c, db: db, guard: c.Args[3]}
	handle := func(handling context.Context, m mq.Message) error {
		handling, cancel := context.WithCancel(handling)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)() // a handler that waits for an order ends with the process
		return h.handle(handling, m)
	}
	_, closing, err := startBus(ctx, c.Args[0], c.Args[1], mq.Topic{Name: duplicatesTopic, Queues: 1}, func(bus *mq.Bus) {
		bus.Subscribe(mq.Subscription{Group: duplicatesGroup, Topic: duplicatesTopic, Handler: handle, Workers: 1, Timeout: thinking})
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return closing(context.WithoutCancel(ctx))
}

// orderHandler takes a unit for each order, with a guard against a second delivery or without one.
type orderHandler struct {
	child *Child
	db    *stdsql.DB
	guard string
}

func (h *orderHandler) handle(ctx context.Context, m mq.Message) error {
	done, err := h.execute(ctx, m)
	if err != nil {
		return err
	}
	h.report("handled", done, m)
	order, err := h.child.Order(ctx)
	if err != nil {
		return err
	}
	if order == "fails" {
		return fmt.Errorf("handle order %s: it was told to fail", m.Key)
	}
	return nil
}

// execute returns false if the guard says that the message was handled before.
func (h *orderHandler) execute(ctx context.Context, m mq.Message) (done bool, err error) {
	switch h.guard {
	case guardApart:
		n, err := affected(h.db.ExecContext(ctx, insertHandled, m.Key))
		if err != nil || n == 0 {
			return false, err
		}
		h.report("noted", true, m)
		if _, err := h.child.Order(ctx); err != nil { // the process is killed here
			return false, err
		}
		_, err = h.db.ExecContext(ctx, takeUnit, sku)
		return true, err
	case guardID:
		return h.guarded(ctx, m.ID)
	case guardKey:
		return h.guarded(ctx, m.Key)
	}
	_, err = h.db.ExecContext(ctx, takeUnit, sku)
	return true, err
}

// guarded writes the guard's row and takes the unit in one transaction: both are there, or none.
func (h *orderHandler) guarded(ctx context.Context, message string) (done bool, err error) {
	tx, err := h.db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback() //nolint:errcheck // after a COMMIT there is nothing to roll back
	n, err := affected(tx.ExecContext(ctx, insertHandled, message))
	if err != nil || n == 0 {
		return false, err
	}
	if _, err := tx.ExecContext(ctx, takeUnit, sku); err != nil {
		return false, err
	}
	return true, tx.Commit()
}

func (h *orderHandler) report(word string, done bool, m mq.Message) {
	n := 0
	if done {
		n = 1
	}
	h.child.Report("%s %d %d %s", word, m.Attempt, n, m.ID)
}
