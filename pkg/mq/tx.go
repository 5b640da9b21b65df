package mq

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// txProducer is the transactional producer and, towards the library, its listener.
type txProducer struct {
	bus   *Bus
	group string
	check Checker

	// locals holds the local transaction of each half message that is being sent. The library's listener gets neither a
	// context nor an argument of ours, only the message, in the goroutine that sends it.
	locals sync.Map // *primitive.Message -> func() primitive.LocalTransactionState
}

var (
	_ TxProducer                    = (*txProducer)(nil)
	_ primitive.TransactionListener = (*txProducer)(nil)
)

// SendInTx implements [TxProducer]. Storing the half message is tried like [Producer].Send; local runs at most once. A
// half message cannot be delayed. If local panics, so does SendInTx, and the Checker will be asked.
func (p *txProducer) SendInTx(ctx context.Context, m Message, local func(ctx context.Context) TxState) error {
	if !m.DeliverAt.IsZero() {
		return ErrInvalidMessage.WithText("a transaction's message cannot be delayed")
	}
	msg, err := p.bus.encode(ctx, m)
	if err != nil {
		return err
	}
	called := false
	p.locals.Store(msg, func() primitive.LocalTransactionState {
		called = true
		return libraryState(local(ctx))
	})
	defer p.locals.Delete(msg)
	return p.bus.try(ctx, m.Topic, func(ctx context.Context, c *connection) error {
		_, err := c.tx.SendMessageInTransaction(ctx, msg)
		if called {
			return nil // the half message was stored; that the end got lost is the check-back's business
		}
		if err == nil {
			// The broker stored it, but not safely; the library has rolled it back without asking us.
			return errStop{errNotStored}
		}
		return err
	})
}

// ExecuteLocalTransaction implements primitive.TransactionListener.
func (p *txProducer) ExecuteLocalTransaction(msg *primitive.Message) primitive.LocalTransactionState {
	local, ok := p.locals.Load(msg)
	if !ok {
		return primitive.UnkonwnState
	}
	return local.(func() primitive.LocalTransactionState)() //nolint:forcetypeassert // only SendInTx stores here.
}

// CheckLocalTransaction implements primitive.TransactionListener. It must neither panic nor block: the library's one
// goroutine for check-backs would end, silently and for good, or let the goroutines of the other questions pile up.
func (p *txProducer) CheckLocalTransaction(msg *primitive.MessageExt) primitive.LocalTransactionState {
	if !p.bus.gate.enter() {
		return primitive.UnkonwnState
	}
	defer p.bus.gate.leave()
	state := p.ask(p.bus.decode(msg))
	p.bus.metrics.checks.WithLabelValues(p.group, state.String()).Inc()
	return libraryState(state)
}

// ask calls the checker. A panic answers Unknown.
func (p *txProducer) ask(m Message) (state TxState) {
	defer func() {
		if v := recover(); v != nil {
			p.bus.metrics.panics.WithLabelValues(p.group).Inc()
			p.bus.cfg.Log.Error("panic in a transaction checker", "group", p.group, "key", m.Key,
				"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			state = TxUnknown
		}
	}()
	return p.check(m)
}

// String implements fmt.Stringer.
func (s TxState) String() string {
	switch s {
	case TxCommit:
		return "commit"
	case TxRollback:
		return "rollback"
	case TxUnknown:
	}
	return "unknown"
}

func libraryState(s TxState) primitive.LocalTransactionState {
	switch s {
	case TxCommit:
		return primitive.CommitMessageState
	case TxRollback:
		return primitive.RollbackMessageState
	case TxUnknown:
	}
	return primitive.UnkonwnState
}
