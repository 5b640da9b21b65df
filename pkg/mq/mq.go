// Package mq is the message seam: producers, transactional producers and consumers on RocketMQ, without one type of the
// client library in its interface.
//
// A queue promises at-least-once delivery and nothing more: every handler must be idempotent by a business key, because
// each of a lost acknowledgement, a rebalance, a broker restart and a retried send delivers a message again.
package mq

import (
	"context"
	"errors"
	"time"
)

// Message is what travels. Topic and group names are without the namespace, which [Bus] adds and takes off.
type Message struct {
	Topic    string
	Key      string            // business key, for looking a message up; becomes KEYS
	ShardKey string            // messages of one topic and shard key keep their order; "" means no order is needed
	Body     []byte            // JSON
	Headers  map[string]string // user properties; HeaderRequestID among them

	// DeliverAt delays delivery: never before, up to a second after. Zero means at once. At most 72 h ahead.
	DeliverAt time.Time

	// Set on delivery.
	ID      string    // the client library's identifier: a message sent twice has two
	SentAt  time.Time // by the sender's clock
	Attempt int       // 0 at the first delivery
}

// HeaderRequestID carries the request id across the broker, so that one id leads through all of an order's log lines.
const HeaderRequestID = "request_id"

// Handler processes one message. Its error is its verdict: nil acknowledges, a plain error has the message delivered
// again with growing delays, [Discard] sends it to the dead-letter topic at once. A panic counts as a plain error.
type Handler func(ctx context.Context, m Message) error

// TxState is what became of the local transaction that a half message announces.
type TxState int

// The states. After Unknown the broker asks the [Checker].
const (
	TxUnknown TxState = iota
	TxCommit
	TxRollback
)

// Checker answers the broker's question what became of the transaction behind m, which [Message].ID identifies through
// all questions about it. It must not block: it answers at once, from memory. The library calls it for all questions of
// a process on one goroutine and starts another goroutine for each question that waits, and an answer that comes after
// the next question delivers the message without ending its transaction. A checker that does not have the answer
// returns [TxUnknown] and gets it for the next question. A panic answers TxUnknown.
//
// It may rely on nothing but the database: the process that sent m is probably dead.
type Checker func(m Message) TxState

// Producer sends messages.
type Producer interface {
	// Send returns when the broker has the message. The error is a fault of kind unavailable or timeout; after it the
	// message may have been sent all the same.
	Send(ctx context.Context, m Message) error
}

// TxProducer sends half messages.
type TxProducer interface {
	// SendInTx sends m as a half message, which no consumer receives yet. It runs local in the caller's goroutine and ends
	// the transaction with the state that local returned. When the half message cannot be stored, it returns an error
	// without calling local. The end of a transaction has no answer: if it is lost, the broker asks the Checker.
	SendInTx(ctx context.Context, m Message, local func(ctx context.Context) TxState) error
}

// Subscription joins a handler to a topic.
type Subscription struct {
	Group   string // consumer group; each group sees every message once
	Topic   string
	Ordered bool // one message at a time per shard key's queue; a failed message holds its queue back
	Handler Handler

	MaxAttempts int           // deliveries before the dead-letter topic; default 16
	Workers     int           // concurrent handler calls; default 20
	Timeout     time.Duration // of one handler call; default 10 s
}

// Topic is a topic to create before anything starts.
type Topic struct {
	Name   string
	Queues int // default 4; must not change where shard keys matter: the queue is the hash modulo this number
}

type discard struct{ error }

func (d discard) Unwrap() error { return d.error }

// Discard marks err so that its message goes to the dead-letter topic without another attempt.
func Discard(err error) error {
	if err == nil {
		return nil
	}
	return discard{err}
}

// IsDiscard reports whether err asks for the dead-letter topic.
func IsDiscard(err error) bool {
	_, ok := errors.AsType[discard](err)
	return ok
}
