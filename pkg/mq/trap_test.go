package mq_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
	"holdfast/pkg/mq/mqtest"
)

// Each TestTrap is named after a trap of the client library or the broker that the adapter must keep closed.

var topicT = mq.Topic{Name: "t"}

func commitAlways(mq.Message) mq.TxState { return mq.TxCommit }

func unknown(context.Context) mq.TxState { return mq.TxUnknown }

// The library gives check-backs to the first client of an identity, so a normal producer taken first would swallow
// them.
func TestTrapNormalProducerFirst(t *testing.T) {
	t.Parallel()
	b, reg := mqtest.NewBus(t, brokerAddr(t), mqtest.Namespace(), topicT)
	var in mqtest.Inbox
	p := b.Producer()
	b.Subscribe(mq.Subscription{Group: "g", Topic: "t", Handler: in.Handler(nil)})
	tx := b.TxProducer("tx", commitAlways)
	mqtest.Start(t, b)
	if err := p.Send(t.Context(), mq.Message{Topic: "t", Key: "plain", Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if err := tx.SendInTx(t.Context(), mq.Message{Topic: "t", Key: "k", Body: []byte("{}")}, unknown); err != nil {
		t.Fatal(err)
	}
	in.WaitFor(t, "k", 1)
	if n := mqtest.Count(t, reg, "mq_checks_total"); n == 0 {
		t.Error("no check was counted")
	}
}

// A transactional producer that sends nothing, as after a crash, is unknown to the broker unless a consumer beside it
// makes it known.
func TestTrapTransactionalProducerAlone(t *testing.T) {
	t.Parallel()
	addr, ns := brokerAddr(t), mqtest.Namespace()
	before, _ := mqtest.NewBus(t, addr, ns, topicT)
	asking := make(chan struct{}, 100)
	tx := before.TxProducer("tx", func(mq.Message) mq.TxState {
		asking <- struct{}{}
		return mq.TxUnknown
	})
	mqtest.Start(t, before)
	if err := tx.SendInTx(t.Context(), mq.Message{Topic: "t", Key: "k", Body: []byte("{}")}, unknown); err != nil {
		t.Fatal(err)
	}
	<-asking // a client that is closed as soon as it has started races with itself
	mqtest.Close(t, before)

	after, _ := mqtest.NewBus(t, addr, ns, topicT)
	asked := make(chan string, 100)
	after.TxProducer("tx", func(m mq.Message) mq.TxState {
		asked <- m.Key
		return mq.TxRollback
	})
	mqtest.Start(t, after)
	select {
	case key := <-asked:
		if key != "k" {
			t.Errorf("asked about %q", key)
		}
	case <-time.After(20 * time.Second): // the producer's own heartbeat comes at the earliest after 30 s
		t.Fatal("not asked")
	}
}

// The library leaves a message whose handler panicked unacknowledged for 15 minutes.
func TestTrapPanicInHandler(t *testing.T) {
	t.Parallel()
	b, reg := mqtest.NewBus(t, brokerAddr(t), mqtest.Namespace(), topicT)
	var in mqtest.Inbox
	b.Subscribe(mq.Subscription{Group: "g", Topic: "t", Handler: in.Handler(func(m mq.Message) error {
		if m.Attempt == 0 {
			panic("in the handler")
		}
		return nil
	})})
	mqtest.Start(t, b)
	mqtest.Send(t, b, mq.Message{Topic: "t", Key: "k", Body: []byte("{}")})
	got := in.WaitFor(t, "k", 2)
	if gap := got[1].At.Sub(got[0].At); gap > 20*time.Second {
		t.Errorf("delivered again after %s", gap)
	}
	if n := mqtest.Count(t, reg, "mq_panics_total"); n != 1 {
		t.Errorf("mq_panics_total = %d, want 1", n)
	}
}

// The library refuses host names.
func TestTrapHostName(t *testing.T) {
	t.Parallel()
	_, port, err := net.SplitHostPort(brokerAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := mqtest.NewBus(t, net.JoinHostPort("localhost", port), mqtest.Namespace(), topicT)
	var in mqtest.Inbox
	b.Subscribe(mq.Subscription{Group: "g", Topic: "t", Handler: in.Handler(nil)})
	mqtest.Start(t, b)
	mqtest.Send(t, b, mq.Message{Topic: "t", Key: "k", Body: []byte("{}")})
	in.WaitFor(t, "k", 1)
}

// A consumer of the library that failed to start can neither be started again nor be shut down.
func TestTrapBrokerComesLater(t *testing.T) {
	t.Parallel()
	mqtest.SkipIfRace(t)
	broker := stacktest.OwnRocketMQ(t)
	if err := broker.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, _ := mqtest.NewBus(t, broker.NamesrvAddr, mqtest.Namespace(), topicT)
	var in mqtest.Inbox
	b.Subscribe(mq.Subscription{Group: "g", Topic: "t", Handler: in.Handler(nil)})
	tx := b.TxProducer("tx", commitAlways)
	if err := b.Probe(t.Context()); !errors.Is(err, mq.ErrUnavailable) {
		t.Errorf("probe before the start: %v", err)
	}
	started := make(chan struct{})
	go func() {
		defer close(started)
		mqtest.Start(t, b)
	}()
	select {
	case <-started:
		t.Fatal("started without a broker")
	case <-time.After(time.Second):
	}
	if err := broker.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-started
	if err := b.Probe(t.Context()); err != nil {
		t.Errorf("probe after the start: %v", err)
	}
	if err := tx.SendInTx(t.Context(), mq.Message{Topic: "t", Key: "k", Body: []byte("{}")}, unknown); err != nil {
		t.Fatal(err)
	}
	in.WaitFor(t, "k", 1)
}

// The library keeps the first client of an identity, with its check-back channel, until all its producers and consumers
// are shut down. What a failed attempt to start leaves behind would swallow the check-backs of the next.
func TestTrapFailedAttempt(t *testing.T) {
	t.Parallel()
	addr, ns := brokerAddr(t), mqtest.Namespace()
	first, _ := mqtest.NewBus(t, addr, ns, topicT)
	mqtest.Start(t, first) // creates the topic
	group := "g" + mq.StoreSuffix(first)
	squatter, err := rocketmq.NewPushConsumer(consumer.WithGroupName(ns+"-"+group), consumer.WithInstance(ns+"/"+group),
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{addr})))
	if err != nil {
		t.Fatal(err)
	}
	if err := squatter.Start(); err != nil {
		t.Fatal(err)
	}
	failed := make(chan struct{}, 100)
	b, err := mq.Open(mq.Config{
		Namesrv: []string{addr}, Namespace: ns, Instance: ns, Topics: []mq.Topic{topicT}, Log: slog.New(signal{slog.DiscardHandler, failed}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mqtest.Close(t, b) })
	var in mqtest.Inbox
	b.Subscribe(mq.Subscription{Group: "g", Topic: "t", Handler: in.Handler(nil)})
	tx := b.TxProducer("tx", commitAlways)
	started := make(chan struct{})
	go func() {
		defer close(started)
		mqtest.Start(t, b)
	}()
	for range 2 {
		select {
		case <-failed:
		case <-started:
			t.Fatal("started although its consumer's place is taken")
		}
	}
	if err := squatter.Shutdown(); err != nil {
		t.Fatal(err)
	}
	<-started
	if err := tx.SendInTx(t.Context(), mq.Message{Topic: "t", Key: "k", Body: []byte("{}")}, unknown); err != nil {
		t.Fatal(err)
	}
	in.WaitFor(t, "k", 1)
}

// signal is a log handler that tells of each line.
type signal struct {
	slog.Handler
	lines chan<- struct{}
}

func (signal) Enabled(context.Context, slog.Level) bool { return true }

func (s signal) Handle(context.Context, slog.Record) error {
	select {
	case s.lines <- struct{}{}:
	default:
	}
	return nil
}

// The library takes a send's deadline for the write as well: a write that runs into it closes the connection that all
// senders and consumers of the process share.
func TestTrapExpiredDeadline(t *testing.T) {
	t.Parallel()
	b, _ := mqtest.NewBus(t, brokerAddr(t), mqtest.Namespace(), topicT)
	mqtest.Start(t, b)
	mqtest.Send(t, b, mq.Message{Topic: "t", Key: "warm", Body: []byte("{}")})
	for _, left := range []time.Duration{-time.Second, 0, time.Microsecond, time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), left)
		err := b.Producer().Send(ctx, mq.Message{Topic: "t", Key: "k", Body: []byte("{}")})
		cancel()
		if !errors.Is(err, mq.ErrTimeout) || fault.Ambiguous(err) {
			t.Errorf("%s left: %v (ambiguous %v), want an unambiguous %v", left, err, fault.Ambiguous(err), mq.ErrTimeout)
		}
	}
}

// Two buses under one identity would share a client, and check-backs would reach one of them.
func TestTrapOneInstanceTwice(t *testing.T) {
	t.Parallel()
	ns := brokerAddr(t)
	open := func() *mq.Bus {
		b, err := mq.Open(mq.Config{Namesrv: []string{ns}, Instance: "only-one", Namespace: mqtest.Namespace()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { mqtest.Close(t, b) })
		return b
	}
	first, second, third := open(), open(), open()
	mqtest.Start(t, first)
	if err := second.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "only-one") {
		t.Errorf("a second bus with the same instance: %v", err)
	}
	mqtest.Close(t, first)
	mqtest.Start(t, third)
}

// Creating an existing topic with another number of queues changes it, and with it the queue of every shard key.
func TestTrapQueuesChange(t *testing.T) {
	t.Parallel()
	addr, ns := brokerAddr(t), mqtest.Namespace()
	queues := func(n int) map[int]bool {
		b, _ := mqtest.NewBus(t, addr, ns, mq.Topic{Name: "t", Queues: n})
		mqtest.Start(t, b)
		used := make(map[int]bool)
		for _, q := range mq.RouteQueues(t, b, "t") {
			used[q] = true
		}
		return used
	}
	if diff := cmp.Diff(queues(3), queues(8)); diff != "" {
		t.Errorf("the number of queues changed (-first +second):\n%s", diff)
	}
}

// One ordered message that fails must hold its queue for a while; the library's own default is no time at all.
func TestTrapOrderedRetrySpins(t *testing.T) {
	t.Parallel()
	b, _ := mqtest.NewBus(t, brokerAddr(t), mqtest.Namespace(), topicT)
	var calls atomic.Int32
	first := make(chan struct{}, 1000)
	b.Subscribe(mq.Subscription{Group: "g", Topic: "t", Ordered: true, Handler: func(context.Context, mq.Message) error {
		calls.Add(1)
		first <- struct{}{}
		return errors.New("refused by the test")
	}})
	mqtest.Start(t, b)
	mqtest.Send(t, b, mq.Message{Topic: "t", Key: "k", ShardKey: "s", Body: []byte("{}")})
	<-first
	begin := time.Now()
	for range 3 {
		<-first
	}
	if d := time.Since(begin); d < 600*time.Millisecond {
		t.Errorf("three more attempts within %s, want pauses of 100, 200 and 400 ms", d)
	}
}

func TestBus_lifecycle(t *testing.T) {
	t.Parallel()
	addr := brokerAddr(t)
	ctx := t.Context()

	never, _ := mqtest.NewBus(t, addr, mqtest.Namespace(), topicT)
	if err := never.Producer().Send(ctx, mq.Message{Topic: "t", Body: []byte("{}")}); !errors.Is(err, mq.ErrUnavailable) || fault.Ambiguous(err) {
		t.Errorf("send before Start: %v", err)
	}
	if err := errors.Join(never.Close(ctx), never.Close(ctx)); err != nil {
		t.Errorf("Close before Start, twice: %v", err)
	}
	if err := never.Start(ctx); err == nil {
		t.Error("Start after Close succeeded")
	}

	b, _ := mqtest.NewBus(t, addr, mqtest.Namespace(), topicT)
	mqtest.Start(t, b)
	if err := b.Start(ctx); err == nil {
		t.Error("a second Start succeeded")
	}
	mqtest.Send(t, b, mq.Message{Topic: "t", Body: []byte("{}")})
	if err := errors.Join(b.Close(ctx), b.Close(ctx)); err != nil {
		t.Errorf("Close twice: %v", err)
	}
	if err := b.Producer().Send(ctx, mq.Message{Topic: "t", Body: []byte("{}")}); !errors.Is(err, mq.ErrUnavailable) || fault.Ambiguous(err) {
		t.Errorf("send after Close: %v", err)
	}
	if err := b.Probe(ctx); !errors.Is(err, mq.ErrUnavailable) {
		t.Errorf("probe after Close: %v", err)
	}
}

func TestBus_Start_givesUp(t *testing.T) {
	t.Parallel()
	b, _ := mqtest.NewBus(t, "127.0.0.1:1", mqtest.Namespace(), topicT)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := b.Start(ctx); !errors.Is(err, mq.ErrUnavailable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("Start without a broker: %v", err)
	}
}

func TestBus_Close_duringStart(t *testing.T) {
	t.Parallel()
	b, _ := mqtest.NewBus(t, "127.0.0.1:1", mqtest.Namespace(), topicT)
	result := make(chan error, 1)
	go func() { result <- b.Start(context.Background()) }()
	select {
	case err := <-result:
		t.Fatalf("Start ended by itself: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	mqtest.Close(t, b)
	if err := <-result; err == nil {
		t.Error("Start succeeded")
	}
}

// TestBus_Close_handlerStuck gives up waiting, cancels the handler's context, and says so.
func TestBus_Close_handlerStuck(t *testing.T) {
	t.Parallel()
	b, err := mq.Open(mq.Config{Namesrv: []string{brokerAddr(t)}, Namespace: mqtest.Namespace(), Topics: []mq.Topic{topicT}})
	if err != nil {
		t.Fatal(err)
	}
	running, ended := make(chan struct{}), make(chan struct{})
	b.Subscribe(mq.Subscription{Group: "g", Topic: "t", Timeout: time.Hour, Handler: func(ctx context.Context, _ mq.Message) error {
		close(running)
		defer close(ended)
		<-ctx.Done()
		return nil
	}})
	mqtest.Start(t, b)
	mqtest.Send(t, b, mq.Message{Topic: "t", Key: "k", Body: []byte("{}")})
	<-running
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close with a stuck handler: %v", err)
	}
	<-ended
}

// brokerAddr is the name server's address of the shared broker.
func brokerAddr(t *testing.T) string {
	t.Helper()
	mqtest.SkipIfRace(t)
	return stacktest.RocketMQ(t)
}
