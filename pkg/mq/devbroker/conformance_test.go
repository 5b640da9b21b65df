package devbroker_test

import (
	"context"
	"testing"
	"time"

	"holdfast/pkg/mq/devbroker"
	"holdfast/pkg/mq/mqtest"
)

// TestConformance runs the suite that RocketMQ passes, with the real client library. Only -short skips a case, a slow
// one. In what the two brokers differ beyond it, [TestDifferences] says.
func TestConformance(t *testing.T) {
	skip := make(map[string]string)
	if testing.Short() {
		skip["BrokerRestart"] = "takes half a minute: the client library notices late that it can connect again"
		skip["StoreLost"] = "takes half a minute: the broker restarts three times"
	}
	mqtest.Run(t, func(tb testing.TB, _ bool) mqtest.Env {
		o := devbroker.Options{TransactionTimeout: 3 * time.Second, CheckInterval: 2 * time.Second}
		b := start(tb, o)
		o.Addr = b.Addr()
		return mqtest.Env{Namesrv: b.Addr(), Kill: b.Kill, Restart: b.Restart, LoseStore: func(context.Context) error {
			if err := b.Close(); err != nil {
				return err
			}
			b = start(tb, o)
			return nil
		}}
	}, skip)
}

func start(tb testing.TB, o devbroker.Options) *devbroker.Broker {
	tb.Helper()
	b, err := devbroker.Start(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	tb.Log("runs on development broker")
	return b
}
