package stacktest

import (
	"cmp"
	"context"
	"os"
	"testing"

	"holdfast/internal/dev/stack"
)

type broker struct{ addr, name string }

// RocketMQ returns the name server's address of a RocketMQ that the tests of this process share. If RocketMQ cannot
// run, it is the development broker; the test's log says which. Each test chooses a namespace of its own and never
// stops or freezes the broker; see [OwnRocketMQ]. The broker checks open transactions after three to five seconds.
// With -short the test is skipped.
func RocketMQ(tb testing.TB) string {
	tb.Helper()
	SkipIfShort(tb, "RocketMQ")
	if addr := os.Getenv("HOLDFAST_NAMESRV"); addr != "" {
		tb.Logf("runs on %s", cmp.Or(os.Getenv("HOLDFAST_BROKER"), "the broker behind "+addr))
		return addr
	}
	b, err := shared.broker()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Logf("runs on %s", b.name)
	return b.addr
}

func startBroker(ctx context.Context) (broker, error) {
	addr, name, _, err := stack.StartBroker(ctx, os.Getenv("BROKER"), stack.Options{Tie: true})
	return broker{addr, name}, err
}

// OwnRocketMQ starts a RocketMQ for this test alone, which may kill, freeze or restart it. settings are lines of the
// broker's configuration. The server ends with the test. If RocketMQ cannot run, or BROKER=devbroker is set, the test
// is skipped.
func OwnRocketMQ(tb testing.TB, settings ...string) *stack.RocketMQ {
	tb.Helper()
	SkipIfShort(tb, "RocketMQ")
	if os.Getenv("BROKER") == stack.BrokerDev {
		tb.Skip("needs a RocketMQ of its own, and BROKER=devbroker is set")
	}
	if err := stack.RocketMQAvailable(); err != nil {
		tb.Skip("needs a RocketMQ of its own: ", err)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	r, err := stack.StartRocketMQ(ctx, stack.Options{Tie: true}, append(stack.QuickTransactions(), settings...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Stop(context.Background()); err != nil {
			tb.Errorf("stop RocketMQ: %v", err)
		}
	})
	tb.Logf("runs on RocketMQ %s", r.Version)
	return r
}
