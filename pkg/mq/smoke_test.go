package mq_test

import (
	"context"
	"os"
	"testing"
	"time"

	"holdfast/pkg/mq"
)

func TestSmoke(t *testing.T) {
	ns := os.Getenv("HOLDFAST_NAMESRV")
	if ns == "" {
		t.Skip("no HOLDFAST_NAMESRV")
	}
	b, err := mq.Open(mq.Config{Namesrv: []string{ns}, Namespace: "smoke", Topics: []mq.Topic{{Name: "a"}, {Name: "b", Queues: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan mq.Message, 10)
	n := 0
	b.Subscribe(mq.Subscription{Group: "g", Topic: "a", Handler: func(ctx context.Context, m mq.Message) error {
		got <- m
		n++
		if n == 1 {
			panic("x")
		}
		return nil
	}})
	tx := b.TxProducer("txg", func(context.Context, mq.Message) (mq.TxState, error) { return mq.TxCommit, nil })
	t0 := time.Now()
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Log("started", time.Since(t0))
	t.Log(b.Probe(t.Context()), time.Since(t0))
	t.Log(b.Producer().Send(t.Context(), mq.Message{Topic: "a", Key: "k", Body: []byte("{}")}), time.Since(t0))
	t.Log(tx.SendInTx(t.Context(), mq.Message{Topic: "a", Key: "k2", Body: []byte("{}")}, func(context.Context) mq.TxState { return mq.TxUnknown }), time.Since(t0))
	for range 3 {
		m := <-got
		t.Logf("%+v %v", m, time.Since(t0))
	}
	t.Log(b.Close(t.Context()), time.Since(t0))
}
