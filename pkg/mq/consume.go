package mq

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"holdfast/pkg/telemetry"
)

const (
	defaultAttempts = 16
	defaultWorkers  = 20
	defaultTimeout  = 10 * time.Second

	suspendMin = 100 * time.Millisecond // how long a failed ordered message holds its queue, doubling
	suspendMax = 30 * time.Second

	deadLetterLevel = -1 // the delay level that means the dead-letter topic
	maxLevel        = 18
)

// verdict is what becomes of a handled message.
type verdict string

const (
	verdictAck   verdict = "ack"
	verdictRetry verdict = "retry"
	verdictDead  verdict = "dead"
)

// subscriber is a Subscription with its defaults, at work.
type subscriber struct {
	Subscription
	bus *Bus
}

func (b *Bus) newSubscriber(s Subscription) (*subscriber, error) {
	for _, other := range b.subs {
		if other.Group == s.Group {
			return nil, errors.New("the group has a subscription already")
		}
	}
	sub := b.subscriberOf(s)
	if _, ok := b.known[s.Topic]; !ok && !sub.deadLetters() {
		return nil, fmt.Errorf("topic %q is not among the bus's topics", s.Topic)
	}
	if s.Handler == nil || s.MaxAttempts < 0 || s.Workers < 0 || s.Timeout < 0 {
		return nil, errors.New("no handler, or a negative number")
	}
	return sub, nil
}

func (b *Bus) subscriberOf(s Subscription) *subscriber {
	if s.MaxAttempts == 0 {
		s.MaxAttempts = defaultAttempts
	}
	if s.Workers == 0 {
		s.Workers = defaultWorkers
	}
	if s.Timeout == 0 {
		s.Timeout = defaultTimeout
	}
	return &subscriber{Subscription: s, bus: b}
}

func (s *subscriber) deadLetters() bool { return strings.HasPrefix(s.Topic, deadLetterPrefix) }

// maxReconsumeTimes is the library's and the broker's idea of MaxAttempts. We give a message up ourselves, at exactly
// MaxAttempts; this is the limit for those whose giving up got lost on the way.
func (s *subscriber) maxReconsumeTimes() int32 {
	return int32(s.MaxAttempts) //nolint:gosec // the number of attempts is small.
}

// concurrently is the library's callback of an unordered subscription.
func (s *subscriber) concurrently(ctx context.Context, g *gate, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	cc, ok := primitive.GetConcurrentlyCtx(ctx)
	for _, msg := range msgs { // always one
		v, let := s.handle(g, msg) //nolint:contextcheck // the library's context names the queue and is never done; ours is the bus's.
		if !let {
			return consumer.ConsumeRetryLater, nil
		}
		switch v {
		case verdictAck:
			continue
		case verdictRetry:
			if ok {
				cc.DelayLevelWhenNextConsume = retryLevel(int(msg.ReconsumeTimes))
			}
		case verdictDead:
			s.giveUp(msg)
			if ok {
				cc.DelayLevelWhenNextConsume = deadLetterLevel
			}
		}
		return consumer.ConsumeRetryLater, nil
	}
	return consumer.ConsumeSuccess, nil
}

// orderly is the library's callback of an ordered subscription. It reports a failure by suspending the queue: "later"
// would lose the message. It always sets the time: without one the library retries at once, millions of times.
func (s *subscriber) orderly(
	ctx context.Context, g *gate, queues *handover, msgs ...*primitive.MessageExt,
) (consumer.ConsumeResult, error) {
	oc, ok := primitive.GetOrderlyCtx(ctx)
	if !ok {
		return consumer.SuspendCurrentQueueAMoment, errors.New("the client library does not say which queue this is")
	}
	held, ours := queues.enter(oc.MQ)
	if !ours { // its new owner begins with this message
		oc.SuspendCurrentQueueTimeMillis = int(suspendMin.Milliseconds())
		return consumer.SuspendCurrentQueueAMoment, nil
	}
	defer queues.leave(held)
	for _, msg := range msgs { // always one
		v, let := s.handle(g, msg) //nolint:contextcheck // the library's context names the queue and is never done; ours is the bus's.
		if let && v == verdictAck {
			continue
		}
		oc.SuspendCurrentQueueTimeMillis = int(suspension(int(msg.ReconsumeTimes)).Milliseconds())
		if let && v == verdictDead {
			s.giveUp(msg)
		}
		return consumer.SuspendCurrentQueueAMoment, nil
	}
	return consumer.ConsumeSuccess, nil
}

// giveUp counts the message's attempts past every limit, so that the library and the broker both see a dead letter even
// where they do not look at the delay level: in order, and when sending back has to be repeated another way.
func (s *subscriber) giveUp(msg *primitive.MessageExt) {
	msg.ReconsumeTimes = max(msg.ReconsumeTimes, s.maxReconsumeTimes()+1)
}

// retryLevel is the broker's delay level after the given attempt: 1 s, 5 s, 10 s, 30 s, 1 min and so on up to 2 h.
func retryLevel(attempt int) int { return min(attempt+1, maxLevel) }

// suspension is how long an ordered message holds its queue after the given attempt.
func suspension(attempt int) time.Duration {
	d := suspendMin
	for range attempt {
		if d *= 2; d >= suspendMax {
			return suspendMax
		}
	}
	return d
}

// handle runs the handler and judges. It reports let as false when the consumer is closing and the handler was not
// called.
func (s *subscriber) handle(g *gate, msg *primitive.MessageExt) (v verdict, let bool) {
	if !g.enter() {
		g.turnedAway()
		return verdictRetry, false
	}
	defer g.leave()
	m := s.bus.decode(msg)
	ctx, cancel := context.WithTimeout(messageContext(s.bus.work, m), s.Timeout)
	defer cancel()
	begin := time.Now()
	v = s.judge(ctx, m, s.call(ctx, m), begin)
	s.bus.metrics.handled.WithLabelValues(s.Topic, s.Group, string(v)).Inc()
	return v, true
}

// messageContext is a handler's context: it carries the request id that came with the message.
func messageContext(parent context.Context, m Message) context.Context {
	if id := m.Headers[HeaderRequestID]; id != "" {
		return telemetry.WithRequestID(parent, id)
	}
	return parent
}

// call runs the handler. A panic becomes an error. Otherwise the library would keep the message unacknowledged for 15
// minutes, and would stop an ordered queue until the process restarts.
func (s *subscriber) call(ctx context.Context, m Message) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.bus.metrics.panics.WithLabelValues(s.Group).Inc()
			s.bus.cfg.Log.ErrorContext(ctx, "panic in a message handler", "topic", s.Topic, "group", s.Group, "key", m.Key,
				"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return s.Handler(ctx, m)
}

// judge turns the handler's error into a verdict and logs it: one line for each delivery, as each request has one.
func (s *subscriber) judge(ctx context.Context, m Message, err error, begin time.Time) verdict {
	if err == nil {
		s.bus.cfg.Log.InfoContext(ctx, "message", "topic", s.Topic, "group", s.Group, "key", m.Key, "attempt", m.Attempt, "took", time.Since(begin))
		return verdictAck
	}
	log := s.bus.cfg.Log.With("topic", s.Topic, "group", s.Group, "key", m.Key, "message_id", m.ID, "attempt", m.Attempt, "err", err)
	if IsDiscard(err) || m.Attempt+1 >= s.MaxAttempts {
		s.bus.metrics.dead.WithLabelValues(s.Topic, s.Group).Inc()
		log.ErrorContext(ctx, "message given up, it goes to the dead-letter topic")
		return verdictDead
	}
	log.WarnContext(ctx, "message failed, it will be delivered again")
	return verdictRetry
}
