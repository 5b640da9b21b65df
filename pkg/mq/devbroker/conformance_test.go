package devbroker_test

import (
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
	}
	mqtest.Run(t, func(tb testing.TB, _ bool) mqtest.Env {
		b := start(tb, devbroker.Options{TransactionTimeout: 3 * time.Second, CheckInterval: 2 * time.Second})
		return mqtest.Env{Namesrv: b.Addr(), Kill: b.Kill, Restart: b.Restart}
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
