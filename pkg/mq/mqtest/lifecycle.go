package mqtest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
)

// drainOnClose closes a bus while handlers run and more messages wait: those that run are finished and not delivered
// again, the others go to the next member of the group.
func drainOnClose(t *testing.T, env Env) {
	const total, workers = 30, 3
	ns := Namespace()
	first, _ := NewBus(t, env.Namesrv, ns, mq.Topic{Name: topicA})
	var (
		begun, done Inbox
		let         = make(chan struct{})
		running     atomic.Int32
	)
	first.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, Workers: workers, Handler: func(ctx context.Context, m mq.Message) error {
		running.Add(1)
		_ = begun.Handler(nil)(ctx, m)
		select {
		case <-let:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := first.Producer().Send(ctx, mq.Message{Topic: topicA, Key: "after-" + m.Key, Body: body("")}); err != nil {
			t.Errorf("a handler could not send while the bus was draining: %v", err)
		}
		return done.Handler(nil)(ctx, m)
	}})
	Start(t, first)
	for i := range total {
		Send(t, first, mq.Message{Topic: topicA, Key: fmt.Sprintf("k%d", i), Body: body("")})
	}
	testkit.EventuallyTrue(t, patience, "busy workers", func() bool { return running.Load() >= workers })

	closed := make(chan struct{})
	go func() {
		defer close(closed)
		Close(t, first)
	}()
	select {
	case <-closed:
		t.Fatal("Close did not wait for the running handlers")
	case <-time.After(300 * time.Millisecond):
	}
	close(let)
	<-closed
	if b, d := len(begun.All()), len(done.All()); b != d {
		t.Errorf("%d handlers began, %d ended", b, d)
	}
	finished := done.All()

	second, _ := NewBus(t, env.Namesrv, ns, mq.Topic{Name: topicA})
	var rest Inbox
	second.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, Handler: rest.Handler(nil)})
	Start(t, second)
	rest.WaitForKeys(t, total) // what is left, and one "after" for each that is not
	for _, d := range rest.All() {
		if d.Attempt != 0 {
			t.Errorf("%s lost %d attempts to the Close of another member", d.Key, d.Attempt)
		}
	}
	for _, d := range finished {
		if n := len(rest.Of(d.Key)); n != 0 {
			t.Errorf("%s was handled before Close and again after it", d.Key)
		}
	}
}

// recovery bounds the time after a broker's return in which a consumer receives again. The client library alone needs
// up to 33 s.
const recovery = 10 * time.Second

// brokerRestart kills the broker under a running bus and starts it again: nothing acknowledged is lost, an open
// transaction is asked about, and the bus recovers by itself, soon.
func brokerRestart(t *testing.T, env Env) {
	if env.Kill == nil || env.Restart == nil {
		t.Skip("this broker cannot be killed")
	}
	a := answers{say: map[string]mq.TxState{"tx": mq.TxCommit}}
	b, tx, in := startTx(t, env, Namespace(), a.check)
	Send(t, b, mq.Message{Topic: topicA, Key: "before", Body: body("")})
	sendTx(t, tx, "tx", mq.TxUnknown)
	in.WaitFor(t, "before", 1)

	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if err := env.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Probe(ctx); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("probe of a dead broker: %v, want %s", err, fault.Unavailable)
	}
	down, cancelDown := context.WithTimeout(ctx, 5*time.Second)
	defer cancelDown()
	err := b.Producer().Send(down, mq.Message{Topic: topicA, Key: "during", Body: body("")})
	if kind := fault.KindOf(err); kind != fault.Unavailable && kind != fault.Timeout {
		t.Errorf("send to a dead broker: %v, want %s or %s", err, fault.Unavailable, fault.Timeout)
	}
	called := false
	err = tx.SendInTx(down, mq.Message{Topic: topicA, Key: "during", Body: body("")}, func(context.Context) mq.TxState {
		called = true
		return mq.TxCommit
	})
	if err == nil || called {
		t.Errorf("transaction on a dead broker: %v, local transaction called: %v", err, called)
	}
	if err := env.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	testkit.EventuallyTrue(t, patience, "a sound probe", func() bool { return b.Probe(ctx) == nil })
	testkit.EventuallyTrue(t, patience, "a send that succeeds", func() bool {
		return b.Producer().Send(ctx, mq.Message{Topic: topicA, Key: "after", Body: body("")}) == nil
	})
	back := time.Now()
	in.WaitFor(t, "after", 1)
	if took := time.Since(back); took > recovery {
		t.Errorf("a message was received %v after the broker took it, want %v at most", took, recovery)
	}
	in.WaitFor(t, "tx", 1)
}
