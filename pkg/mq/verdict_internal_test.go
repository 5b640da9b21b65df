package mq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/telemetry"
)

// openGate returns a gate that lets handlers in.
func openGate() *gate {
	g := &gate{}
	g.init()
	return g
}

// subscribed returns a subscription of group g of a bus that is not started.
func subscribed(t *testing.T, s Subscription) *subscriber {
	t.Helper()
	b, err := Open(Config{
		Namesrv: []string{"127.0.0.1:1"}, Namespace: "ns", Topics: []Topic{{Name: "t"}}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Group, s.Topic = "g", "t"
	b.Subscribe(s)
	return b.subs[0]
}

// delivery returns a message as the library delivers it.
func delivery(attempt int32) *primitive.MessageExt {
	return &primitive.MessageExt{Message: primitive.Message{Topic: "ns-t", Body: []byte("{}")}, ReconsumeTimes: attempt}
}

var errHandler = errors.New("the handler fails")

// TestSubscriber_concurrently: what the library and the broker are given for each end of a handler. A message is given
// up at its last attempt, and one that is discarded at its first.
func TestSubscriber_concurrently(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer   func() error
		attempt  int32
		want     consumer.ConsumeResult
		level    int
		attempts int32 // of the message, as the library sends it back
	}{
		"acknowledged":             {func() error { return nil }, 0, consumer.ConsumeSuccess, 0, 0},
		"acknowledged at last":     {func() error { return nil }, 2, consumer.ConsumeSuccess, 0, 2},
		"failed once":              {func() error { return errHandler }, 0, consumer.ConsumeRetryLater, 1, 0},
		"failed twice":             {func() error { return errHandler }, 1, consumer.ConsumeRetryLater, 2, 1},
		"failed for the last time": {func() error { return errHandler }, 2, consumer.ConsumeRetryLater, -1, 4},
		"failed beyond the last":   {func() error { return errHandler }, 9, consumer.ConsumeRetryLater, -1, 9},
		"discarded":                {func() error { return Discard(errHandler) }, 0, consumer.ConsumeRetryLater, -1, 4},
		"discarded inside":         {func() error { return fmt.Errorf("order 1: %w", Discard(errHandler)) }, 0, consumer.ConsumeRetryLater, -1, 4},
		"panicked":                 {func() error { panic("boom") }, 0, consumer.ConsumeRetryLater, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, Subscription{MaxAttempts: 3, Handler: func(context.Context, Message) error { return tt.answer() }})
			cc := primitive.NewConsumeConcurrentlyContext()
			msg := delivery(tt.attempt)
			got, err := s.concurrently(primitive.WithConcurrentlyCtx(t.Context(), cc), openGate(), msg)
			if err != nil || got != tt.want || cc.DelayLevelWhenNextConsume != tt.level || msg.ReconsumeTimes != tt.attempts {
				t.Errorf("result %v, level %d, attempts %d, error %v; want %v, %d, %d",
					got, cc.DelayLevelWhenNextConsume, msg.ReconsumeTimes, err, tt.want, tt.level, tt.attempts)
			}
		})
	}
}

// TestSubscriber_delayLevels: the delays of an unordered message grow up to the broker's last level.
func TestSubscriber_delayLevels(t *testing.T) {
	t.Parallel()
	s := subscribed(t, Subscription{MaxAttempts: 100, Handler: func(context.Context, Message) error { return errHandler }})
	for attempt, want := range map[int32]int{0: 1, 16: 17, 17: 18, 18: 18, 98: 18, 99: -1} {
		cc := primitive.NewConsumeConcurrentlyContext()
		if _, err := s.concurrently(primitive.WithConcurrentlyCtx(t.Context(), cc), openGate(), delivery(attempt)); err != nil {
			t.Fatal(err)
		}
		if got := cc.DelayLevelWhenNextConsume; got != want {
			t.Errorf("after attempt %d: level %d, want %d", attempt, got, want)
		}
	}
}

// TestSubscriber_orderly: a failed message suspends its queue, for longer each time and never without an end.
func TestSubscriber_orderly(t *testing.T) {
	t.Parallel()
	answers := map[int32]error{5: Discard(errHandler), 6: nil}
	s := subscribed(t, Subscription{Ordered: true, MaxAttempts: 1000, Handler: func(_ context.Context, m Message) error {
		if err, ok := answers[int32(m.Attempt)]; ok { //nolint:gosec // a small number.
			return err
		}
		return errHandler
	}})
	queues := newHandover(s.bus)
	q := primitive.MessageQueue{Topic: "ns-t", BrokerName: "b"}
	queues.allocate("g", "me", []*primitive.MessageQueue{&q}, []string{"me"})
	for _, tt := range []struct {
		attempt  int32
		want     consumer.ConsumeResult
		millis   int
		attempts int32
	}{
		{0, consumer.SuspendCurrentQueueAMoment, 100, 0},
		{1, consumer.SuspendCurrentQueueAMoment, 200, 1},
		{4, consumer.SuspendCurrentQueueAMoment, 1600, 4},
		{5, consumer.SuspendCurrentQueueAMoment, 3200, 1001},
		{6, consumer.ConsumeSuccess, -1, 6},
		{8, consumer.SuspendCurrentQueueAMoment, 25_600, 8},
		{9, consumer.SuspendCurrentQueueAMoment, 30_000, 9},
		{998, consumer.SuspendCurrentQueueAMoment, 30_000, 998},
		{999, consumer.SuspendCurrentQueueAMoment, 30_000, 1001},
	} {
		oc := primitive.NewConsumeOrderlyContext()
		oc.MQ = q
		msg := delivery(tt.attempt)
		got, err := s.orderly(primitive.WithOrderlyCtx(t.Context(), oc), openGate(), queues, msg)
		if err != nil || got != tt.want || oc.SuspendCurrentQueueTimeMillis != tt.millis || msg.ReconsumeTimes != tt.attempts {
			t.Errorf("attempt %d: result %v for %d ms, attempts %d, error %v; want %v, %d, %d",
				tt.attempt, got, oc.SuspendCurrentQueueTimeMillis, msg.ReconsumeTimes, err, tt.want, tt.millis, tt.attempts)
		}
	}
	if got, err := s.orderly(t.Context(), openGate(), queues, delivery(6)); err == nil || got != consumer.SuspendCurrentQueueAMoment {
		t.Errorf("without the name of the queue: %v, error %v", got, err)
	}
}

// TestSubscriber_handlerContext: a handler's context has the message's request id and the subscription's time-out, and
// ends with the bus.
func TestSubscriber_handlerContext(t *testing.T) {
	t.Parallel()
	var kept context.Context
	s := subscribed(t, Subscription{Timeout: time.Hour, Handler: func(c context.Context, _ Message) error {
		kept = c
		deadline, ok := c.Deadline()
		if left := time.Until(deadline); !ok || left > time.Hour || left < 59*time.Minute {
			t.Errorf("%v are left to the handler, want an hour", left)
		}
		if id := telemetry.RequestID(c); id != "r1" {
			t.Errorf("request id %q, want r1", id)
		}
		if err := c.Err(); err != nil {
			t.Errorf("the context has ended: %v", err)
		}
		return nil
	}})
	msg := delivery(0)
	msg.WithProperty(HeaderRequestID, "r1")
	if _, err := s.concurrently(t.Context(), openGate(), msg); err != nil {
		t.Fatal(err)
	}
	if kept.Err() == nil {
		t.Error("the handler has returned, and its context lives")
	}
	if err := s.bus.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Handler = func(c context.Context, _ Message) error { return c.Err() }
	cc := primitive.NewConsumeConcurrentlyContext()
	if got, _ := s.concurrently(primitive.WithConcurrentlyCtx(t.Context(), cc), openGate(), delivery(0)); got != consumer.ConsumeRetryLater {
		t.Errorf("after Close a handler's context lives: %v", got)
	}
}

// TestBus_decode: what a message was sent with arrives, without the namespace and the broker's own properties. A dead
// letter says where it came from.
func TestBus_decode(t *testing.T) {
	t.Parallel()
	b := subscribed(t, Subscription{Handler: func(context.Context, Message) error { return nil }}).bus
	ctx := telemetry.WithRequestID(t.Context(), "r1")
	sent := Message{Topic: "t", Key: "k", ShardKey: "s", Body: []byte("{}"), Headers: map[string]string{"a_b-1": "ü"}}
	msg, err := b.encode(ctx, sent)
	if err != nil {
		t.Fatal(err)
	}
	if msg.Topic != "ns-t" {
		t.Errorf("sent to %s, want ns-t", msg.Topic)
	}
	msg.WithProperty("UNIQ_KEY", "u")
	msg.WithProperty("__transactionId__", "u")
	at := time.UnixMilli(1_700_000_000_123)
	received := &primitive.MessageExt{
		Message: primitive.Message{Topic: msg.Topic, Body: msg.Body}, MsgId: "id", BornTimestamp: at.UnixMilli(), ReconsumeTimes: 2,
	}
	received.WithProperties(msg.GetProperties())
	got := b.decode(received)
	want := sent
	want.Headers = map[string]string{"a_b-1": "ü", HeaderRequestID: "r1"}
	want.ID, want.SentAt, want.Attempt = "id", at, 2
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	dead := delivery(0)
	dead.Topic = "%DLQ%ns-g-1700000000123"
	dead.WithProperty(primitive.PropertyRetryTopic, "ns-t")
	got = b.decode(dead)
	if got.Topic != DeadLetterTopic("g") || got.Headers[HeaderOriginTopic] != "t" {
		t.Errorf("a dead letter on %s from %s, want %s from t", got.Topic, got.Headers[HeaderOriginTopic], DeadLetterTopic("g"))
	}
	if again := b.decode(delivery(0)); len(again.Headers) != 0 || strings.Contains(again.Topic, "ns") {
		t.Errorf("a message without properties: %+v", again)
	}
}
