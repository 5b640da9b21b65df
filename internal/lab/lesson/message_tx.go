package lesson

import (
	"context"
	"fmt"
	"sync"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/pkg/mq"
)

// The orders of the scene with transactional messages, by what becomes of them, and the normal message between them.
const (
	txCommitted  = "ORD-1"
	txRolledBack = "ORD-2"
	txCrashLate  = "ORD-3" // its sender dies after COMMIT
	txCrashEarly = "ORD-4" // its sender dies before COMMIT
	txNormal     = "ORD-9"
)

const txGroup = "order-placing"

// txAnswer is how long the broker may take to ask about a transaction: three to five seconds on a broker of the
// lesson's own, 17 on that of the shop, then a second question.
const txAnswer = 90 * time.Second

const (
	placeOrder = "INSERT INTO orders (order_no, status) VALUES (?, 'PLACED')"
	// abandonOrder is a tombstone: after it, the sender's INSERT can no longer succeed.
	abandonOrder = "INSERT IGNORE INTO orders (order_no, status) VALUES (?, 'ABANDONED')"
)

// transactions is the scene with transactional messages.
type transactions struct {
	m   *messageScenes
	bus *mq.Bus
	tx  mq.TxProducer
	in  *inbox

	goOn chan struct{} // lets the local transaction of the first order continue
	sent chan error    // receives the result of its SendInTx

	lookups sync.WaitGroup
	mu      sync.Mutex
	dead    map[string]bool // orders whose sender was killed
	decided map[string]mq.TxState
	asked   map[string]int
}

func (m *messageScenes) transactional(ctx context.Context) (*step.Stage, error) {
	t := &transactions{
		m: m, in: newInbox(nil), goOn: make(chan struct{}), sent: make(chan error, 1),
		dead: map[string]bool{}, decided: map[string]mq.TxState{}, asked: map[string]int{},
	}
	m.e.Clean(func(context.Context) error {
		t.lookups.Wait()
		return nil
	})
	var err error
	t.bus, err = m.open(ctx, 4, t.in, mq.Subscription{}, func(b *mq.Bus) { t.tx = b.TxProducer(txGroup, t.check) })
	if err != nil {
		return nil, err
	}
	late, early := t.crashes(txCrashLate, "commit"), t.crashes(txCrashEarly, "open")
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "order-srv", Steps: []step.Step{t.half(), t.commits(), t.rollsBack()}},
			{Name: "W1", Steps: []step.Step{t.watches(), t.receives()}},
			{Name: "P1", Steps: late},
			{Name: "P2", Steps: early},
			{Name: "broker", Steps: []step.Step{t.asks()}},
		},
		Order: []string{"order-srv", "W1", "order-srv", "W1", "order-srv", "P1", "P1", "P2", "P2", "broker"},
		Look:  []step.Looker{m.look},
		End: func(_ context.Context, end *step.Ending) error {
			t.claim(end)
			return nil
		},
	}, nil
}

func txMessage(order string) mq.Message {
	return mq.Message{Topic: typesTopic, Key: order, Body: []byte("PLACED")}
}

// half is the step in which the broker stores the first order's half message. The local transaction then waits.
func (t *transactions) half() step.Step {
	return step.Step{Label: step.T("message-types.tx.half", txCommitted), Do: func(ctx context.Context) (step.Result, error) {
		begun := make(chan struct{})
		go func() {
			t.sent <- t.tx.SendInTx(ctx, txMessage(txCommitted), func(ctx context.Context) mq.TxState {
				close(begun)
				select {
				case <-t.goOn:
				case <-ctx.Done():
					return mq.TxUnknown
				}
				if _, err := t.m.db.ExecContext(ctx, placeOrder, txCommitted); err != nil {
					return mq.TxUnknown
				}
				return mq.TxCommit
			})
		}()
		select {
		case <-begun:
			return step.Result{}, nil
		case err := <-t.sent:
			return step.Result{}, fmt.Errorf("send a half message: %w", err)
		}
	}}
}

// watches is the step that shows that the half message is invisible: a normal one that was sent after it is delivered.
func (t *transactions) watches() step.Step {
	s := step.Step{Label: step.T("message-types.tx.watches", txNormal), Ask: "message-types.tx.watches.ask"}
	s.Do = func(ctx context.Context) (step.Result, error) {
		if err := t.bus.Producer().Send(ctx, txMessage(txNormal)); err != nil {
			return step.Result{}, err
		}
		err := t.in.await(ctx, t.m.e, txNormal, "PLACED")
		return step.Result{Text: step.T("message-types.tx.watches.got", txNormal, txCommitted, len(t.in.of(txCommitted)))}, err
	}
	return s
}

// commits is the step in which the first order's local transaction and its message are committed.
func (t *transactions) commits() step.Step {
	return step.Step{
		Label: step.T("message-types.tx.commits", txCommitted), Statement: placeOrder,
		Do: func(ctx context.Context) (step.Result, error) {
			close(t.goOn)
			select {
			case err := <-t.sent:
				return step.Result{}, err
			case <-ctx.Done():
				return step.Result{}, ctx.Err()
			}
		},
	}
}

func (t *transactions) receives() step.Step {
	return step.Step{Label: step.T("message-types.tx.receives", txCommitted), Do: func(ctx context.Context) (step.Result, error) {
		return step.Result{}, t.in.await(ctx, t.m.e, txCommitted, "PLACED")
	}}
}

func (t *transactions) rollsBack() step.Step {
	return step.Step{Label: step.T("message-types.tx.rolls-back", txRolledBack), Do: func(ctx context.Context) (step.Result, error) {
		return step.Result{}, t.tx.SendInTx(ctx, txMessage(txRolledBack), func(context.Context) mq.TxState { return mq.TxRollback })
	}}
}

// crashes returns the steps of a process that sends a half message, executes its local transaction, up to its COMMIT or
// not, and is killed before it can tell the broker.
func (t *transactions) crashes(order, how string) []step.Step {
	var p *Process
	begins := step.Step{Label: step.T("message-types.tx."+how, order), Statement: placeOrder, Do: func(ctx context.Context) (_ step.Result, err error) {
		if p, err = t.m.e.Start("shop", t.m.broker.addr, t.m.namespace, t.m.dsn, order, how); err != nil {
			return step.Result{}, err
		}
		_, err = p.Await(ctx, "local")
		return step.Result{}, err
	}}
	dies := step.Step{Label: step.T("message-types.tx.dies"), Do: func(context.Context) (step.Result, error) {
		err := p.Kill()
		t.mu.Lock()
		t.dead[order] = true
		t.mu.Unlock()
		return step.Result{}, err
	}}
	return []step.Step{begins, dies}
}

// asks is the step in which the broker asks about the two orders whose senders have died.
func (t *transactions) asks() step.Step {
	s := step.Step{Label: step.T("message-types.tx.asks", txCrashLate, txCrashEarly), Ask: "message-types.tx.asks.ask"}
	s.Do = func(ctx context.Context) (step.Result, error) {
		ctx, cancel := context.WithTimeout(ctx, txAnswer)
		defer cancel()
		start := time.Now()
		err := until(ctx, "the broker has asked and the message is delivered", func(context.Context) (bool, error) {
			return t.state(txCrashEarly) == mq.TxRollback && t.in.has(txCrashLate, "PLACED"), nil
		})
		took := time.Since(start).Round(100 * time.Millisecond)
		return step.Result{Text: step.T("message-types.tx.asks.got", took, txCrashLate, txCrashEarly)}, err
	}
	return s
}

func (t *transactions) state(order string) mq.TxState {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.decided[order]
}

// check answers the broker. It must not block, so the database is asked beside it, and the next question gets the
// answer. An order without a row may belong to a sender that is still at work. A service waits for longer than any
// local transaction takes; the lesson knows whether it has killed the sender.
func (t *transactions) check(m mq.Message) mq.TxState {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked[m.Key]++
	state, known := t.decided[m.Key]
	if known || !t.dead[m.Key] {
		return state // unknown, if it is not decided
	}
	t.decided[m.Key] = mq.TxUnknown // one look at a time
	t.lookups.Go(func() {
		state := t.lookUp(m.Key)
		t.mu.Lock()
		defer t.mu.Unlock()
		if state == mq.TxUnknown {
			delete(t.decided, m.Key) // the next question looks again
			return
		}
		t.decided[m.Key] = state
	})
	return mq.TxUnknown
}

// lookUp reads what the local transaction has written. If it has written nothing, the tombstone makes sure that it
// never will.
func (t *transactions) lookUp(order string) mq.TxState {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := t.m.db.ExecContext(ctx, abandonOrder, order); err != nil {
		return mq.TxUnknown
	}
	var status string
	if err := t.m.db.QueryRowContext(ctx, "SELECT status FROM orders WHERE order_no = ?", order).Scan(&status); err != nil {
		return mq.TxUnknown
	}
	if status == "PLACED" {
		return mq.TxCommit
	}
	return mq.TxRollback
}

func (t *transactions) claim(end *step.Ending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	count := func(order string) int { return len(t.in.of(order)) }
	before := func(order, other string) bool { return t.in.of(order)[0].at.Before(t.in.of(other)[0].at) }
	end.Check(before(txNormal, txCommitted) && count(txCommitted) == 1, "message-types.tx.half.claim", txCommitted)
	end.Check(count(txRolledBack) == 0 && t.asked[txRolledBack] == 0, "message-types.tx.rolled-back.claim", txRolledBack)
	end.Check(count(txCrashLate) > 0 && t.decided[txCrashLate] == mq.TxCommit, "message-types.tx.late.claim", txCrashLate)
	end.Check(count(txCrashEarly) == 0 && t.decided[txCrashEarly] == mq.TxRollback, "message-types.tx.early.claim", txCrashEarly)
}

// placeInTx is a role: it sends an order's half message, executes the local transaction, up to its COMMIT or not, and
// is killed. Args: name server, namespace, DSN, order number, "commit" or "open".
func placeInTx(ctx context.Context, c *Child) error {
	db, closeDB, err := openPool(ctx, c.Args[2])
	if err != nil {
		return err
	}
	defer closeDB() //nolint:errcheck // nothing can be done about it
	var tx mq.TxProducer
	_, closing, err := startBus(ctx, c.Args[0], c.Args[1], mq.Topic{Name: typesTopic}, func(bus *mq.Bus) {
		tx = bus.TxProducer(txGroup, func(mq.Message) mq.TxState { return mq.TxUnknown })
	})
	if err != nil {
		return err
	}
	defer closing(context.WithoutCancel(ctx)) //nolint:errcheck // nothing can be done about it
	return tx.SendInTx(ctx, txMessage(c.Args[3]), func(ctx context.Context) mq.TxState {
		local, err := db.BeginTx(ctx, nil)
		if err != nil {
			return mq.TxRollback
		}
		defer local.Rollback() //nolint:errcheck // after a COMMIT there is nothing to roll back
		if _, err := local.ExecContext(ctx, placeOrder, c.Args[3]); err != nil {
			return mq.TxRollback
		}
		if c.Args[4] == "commit" && local.Commit() != nil {
			return mq.TxUnknown
		}
		c.Report("local")
		_, _ = c.Order(ctx) // the process is killed here
		return mq.TxUnknown
	})
}
