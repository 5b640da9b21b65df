package mq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"holdfast/pkg/telemetry"
	"holdfast/pkg/wait"
)

const (
	sendTries    = 3
	sendTimeout  = 3 * time.Second // of one try
	sendPauseMin = 200 * time.Millisecond
	sendPauseMax = 400 * time.Millisecond

	// leastTime must remain of a deadline for a send to begin. The library takes the deadline for its write as well, and
	// a write that runs into it closes the connection that all senders and consumers of the process share.
	leastTime = 20 * time.Millisecond

	maxDelay      = 72 * time.Hour
	maxBody       = 4 << 20
	maxProperties = 16 << 10 // half of what the format can hold; the broker adds some of its own
)

// busProducer is the bus as a Producer.
type busProducer struct{ bus *Bus }

var _ Producer = busProducer{}

// Send implements [Producer]. It makes up to three tries of at most 3 s within ctx's deadline, so a message may be
// stored twice even if Send succeeds. Failures are [ErrUnavailable] and [ErrTimeout], ambiguous unless no try can have
// stored the message, and [ErrInvalidMessage].
func (p busProducer) Send(ctx context.Context, m Message) error {
	msg, err := p.bus.encode(ctx, m)
	if err != nil {
		return err
	}
	return p.bus.try(ctx, m.Topic, func(ctx context.Context, c *connection) error {
		res, err := c.producer.SendSync(ctx, msg)
		if err != nil {
			return err
		}
		if res.Status != primitive.SendOK {
			return fmt.Errorf("%w: status %d", errNotStored, res.Status)
		}
		return nil
	})
}

// errStop wraps an error after which try must not try again.
type errStop struct{ error }

func (e errStop) Unwrap() error { return e.error }

// try calls send until it succeeds, cannot succeed, or has failed sendTries times.
func (b *Bus) try(ctx context.Context, topic string, send func(context.Context, *connection) error) error {
	maybe := false
	backoff := wait.Backoff{First: sendPauseMin, Max: sendPauseMax, Attempt: leastTime}
	for n := 1; ; n++ {
		err := b.sendOnce(ctx, send)
		if err == nil {
			b.metrics.sent.WithLabelValues(topic, "ok").Inc()
			return nil
		}
		maybe = maybe || !surelyNotSent(err)
		_, stop := errors.AsType[errStop](err)
		if stop || n == sendTries || pointless(err) || backoff.Sleep(ctx, n) != nil {
			b.metrics.sent.WithLabelValues(topic, "failed").Inc()
			return sendFault(ctx, err, maybe)
		}
	}
}

var (
	errNotRunning = ErrUnavailable.WithText("the message bus is not running").NotExecuted()
	errNoTime     = ErrTimeout.WithText("too little time was left to send").NotExecuted()
)

func (b *Bus) sendOnce(ctx context.Context, send func(context.Context, *connection) error) error {
	c := b.live.Load()
	if c == nil {
		return errStop{errNotRunning}
	}
	if ctx.Err() != nil || !timeLeft(ctx, leastTime) {
		return errStop{errNoTime}
	}
	return send(ctx, c)
}

func timeLeft(ctx context.Context, d time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) >= d
}

// encode checks m and turns it into the library's message.
func (b *Bus) encode(ctx context.Context, m Message) (*primitive.Message, error) {
	if err := b.checkMessage(m); err != nil {
		return nil, err
	}
	msg := primitive.NewMessage(b.names.full(m.Topic), m.Body)
	size := len(m.Key) + len(m.ShardKey)
	for name, value := range m.Headers {
		// The library drops a property without a value, and nobody would be told.
		if !isHeader(name) || value == "" || strings.ContainsAny(value, "\x01\x02") {
			return nil, ErrInvalidMessage.WithText("header %q must be a-z 0-9 _ - and have a value without control characters", name)
		}
		size += len(name) + len(value) + 2
		msg.WithProperty(name, value)
	}
	if size > maxProperties {
		return nil, ErrInvalidMessage.WithText("keys and headers have %d bytes; %d are allowed", size, maxProperties)
	}
	if id := telemetry.RequestID(ctx); id != "" && m.Headers[HeaderRequestID] == "" && !strings.ContainsAny(id, "\x01\x02") {
		msg.WithProperty(HeaderRequestID, id)
	}
	if m.Key != "" {
		msg.WithKeys([]string{m.Key})
	}
	if m.ShardKey != "" {
		msg.WithShardingKey(m.ShardKey)
	}
	if m.DeliverAt.After(time.Now()) {
		msg.WithDelayTimestamp(m.DeliverAt.Add(time.Millisecond - 1)) // the library cuts to milliseconds: never early
	}
	return msg, nil
}

func (b *Bus) checkMessage(m Message) error {
	if _, ok := b.known[m.Topic]; !ok {
		return ErrInvalidMessage.WithText("topic %q is not among the bus's topics", m.Topic)
	}
	if len(m.Body) == 0 || len(m.Body) > maxBody {
		return ErrInvalidMessage.WithText("the body has %d bytes; 1 to %d are allowed", len(m.Body), maxBody)
	}
	if strings.ContainsAny(m.Key, " \x01\x02") || strings.ContainsAny(m.ShardKey, "\x01\x02") {
		return ErrInvalidMessage.WithText("a key must not contain blanks or control characters")
	}
	if time.Until(m.DeliverAt) > maxDelay {
		return ErrInvalidMessage.WithText("delivery is more than %s ahead", maxDelay)
	}
	return nil
}

// isHeader tells our headers from the broker's and the library's own properties, which are in upper case or begin with
// an underscore.
func isHeader(name string) bool {
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// decode turns a received message into ours.
func (b *Bus) decode(msg *primitive.MessageExt) Message {
	m := Message{
		Topic: b.names.plain(msg.Topic), Key: msg.GetKeys(), ShardKey: msg.GetShardingKey(), Body: msg.Body,
		ID: msg.MsgId, SentAt: time.UnixMilli(msg.BornTimestamp), Attempt: int(msg.ReconsumeTimes), Headers: make(map[string]string),
	}
	for name, value := range msg.GetProperties() {
		if isHeader(name) {
			m.Headers[name] = value
		}
	}
	if origin := msg.GetProperty(primitive.PropertyRetryTopic); origin != "" && strings.HasPrefix(m.Topic, deadLetterPrefix) {
		m.Headers[HeaderOriginTopic] = b.names.plain(origin)
	}
	return m
}
