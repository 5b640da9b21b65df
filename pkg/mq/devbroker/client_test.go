package devbroker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/mq"
	"holdfast/pkg/mq/devbroker"
	"holdfast/pkg/mq/mqtest"
)

// What the faults look like to a program behind the real client library.
func TestFaults_realClient(t *testing.T) {
	t.Parallel()
	mqtest.SkipIfRace(t)
	if testing.Short() {
		t.Skip("takes 20 seconds: so long the client library waits before it pulls over a new connection")
	}
	broker := start(t, devbroker.Options{TransactionTimeout: 3 * time.Second, CheckInterval: time.Second})
	ns := mqtest.Namespace()
	bus, _ := mqtest.NewBus(t, broker.Addr(), ns, mq.Topic{Name: "a"})
	full := ns + "-a" // the broker's name of the topic
	var in mqtest.Inbox
	var asked atomic.Int32
	bus.Subscribe(mq.Subscription{Group: "g", Topic: "a", Handler: in.Handler(nil)})
	tx := bus.TxProducer("tx", func(mq.Message) mq.TxState {
		asked.Add(1)
		return mq.TxCommit
	})
	mqtest.Start(t, bus)
	send := func(key string) {
		t.Helper()
		mqtest.Send(t, bus, mq.Message{Topic: "a", Key: key, Body: []byte("{}")})
	}

	broker.Duplicate(full, 1)
	send("twice")
	in.WaitFor(t, "twice", 2)

	broker.Drop(full, 1)
	send("lost")
	broker.Delay(full, 1, time.Second)
	sent := time.Now()
	send("late")
	if got := in.WaitFor(t, "late", 1)[0]; got.At.Sub(sent) < time.Second {
		t.Errorf("delivered after %s, want a second at least", got.At.Sub(sent))
	}

	broker.LoseEnds(1)
	if err := tx.SendInTx(t.Context(), mq.Message{Topic: "a", Key: "tx", Body: []byte("{}")}, func(context.Context) mq.TxState {
		return mq.TxCommit
	}); err != nil {
		t.Fatal(err)
	}
	in.WaitFor(t, "tx", 1)
	if asked.Load() == 0 {
		t.Error("delivered though its commit was lost and nobody was asked")
	}

	broker.Disconnect()
	testkit.EventuallyTrue(t, time.Minute, "a send that succeeds", func() bool {
		return bus.Producer().Send(t.Context(), mq.Message{Topic: "a", Key: "after", Body: []byte("{}")}) == nil
	})
	in.WaitFor(t, "after", 1)
	if n := len(in.Of("lost")); n != 0 {
		t.Errorf("a message that was dropped was delivered %d times", n)
	}
}
