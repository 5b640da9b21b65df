// Package mqtest is the conformance suite of pkg/mq: what a broker, the client library and the adapter must do
// together. It knows no broker itself, so the same cases run on RocketMQ and on the development broker.
package mqtest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/mq"
)

// Env is a broker for the suite. It must ask about open transactions within seconds: a time-out of three seconds or
// less, and checks every two.
type Env struct {
	Namesrv string // host:port

	// Kill ends the broker as SIGKILL does, Restart then starts it again at the same address with what it has stored. Both
	// are needed only where private was asked for.
	Kill    func(ctx context.Context) error
	Restart func(ctx context.Context) error

	// LoseStore ends the broker as SIGKILL does, deletes all that it stored, topics included, and starts it again at the
	// same address. Needed only where private was asked for.
	LoseStore func(ctx context.Context) error
}

// Open returns a broker: with private one that no other test uses and that may be killed, else a shared one.
type Open func(tb testing.TB, private bool) Env

// patience is how long a case waits for what must happen. It is long, because a loaded machine is slow; it costs
// nothing where things go well.
const patience = 90 * time.Second

// Run runs all cases in parallel. skip names cases that this broker cannot pass, with the reason, which is printed.
//
// One case kills a process of its own, which is this test binary again: Run must be all that its test function does.
func Run(t *testing.T, open Open, skip map[string]string) {
	t.Helper()
	if where := os.Getenv(childEnv); where != "" {
		runChild(t, where)
		return
	}
	for _, c := range []struct {
		name    string
		private bool
		run     func(t *testing.T, env Env)
	}{
		{name: "Normal", run: normal},
		{name: "RequestID", run: requestID},
		{name: "TwoGroups", run: twoGroups},
		{name: "RetryThenDeadLetter", run: retryThenDeadLetter},
		{name: "Discard", run: discard},
		{name: "ResendDeadLetters", run: resendDeadLetters},
		{name: "DelayNotEarly", run: delayNotEarly},
		{name: "OrderPerKey", run: orderPerKey},
		{name: "OrderedDeadLetter", run: orderedDeadLetter},
		{name: "OrderedReplicas", run: orderedReplicas},
		{name: "Commit", run: commit},
		{name: "Rollback", run: rollback},
		{name: "UnknownThenCheckBack", run: unknownThenCheckBack},
		{name: "ProducerKilled", run: producerKilled},
		{name: "CheckerPanic", run: checkerPanic},
		{name: "DuplicateDelivery", run: duplicateDelivery},
		{name: "DrainOnClose", run: drainOnClose},
		{name: "DeleteNamespace", run: deleteNamespace},
		{name: "BrokerRestart", run: brokerRestart, private: true},
		{name: "StoreLost", run: storeLost, private: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if reason := skip[c.name]; reason != "" {
				t.Skip(reason)
			}
			SkipIfRace(t)
			c.run(t, open(t, c.private))
		})
	}
}

// SkipIfRace skips a test that uses a broker under the race detector: the client library races with itself. It reads an
// ordered queue without its lock, closes the channel of a queue without waiting for the goroutine that fills it, and
// marks a client as closed without a lock while the broker's notice to it may be on its way. Any of them fails
// whichever test is running. `make test` runs these tests a second time, without -race.
func SkipIfRace(tb testing.TB) {
	tb.Helper()
	if raceEnabled {
		tb.Skip("RocketMQ's client library races with itself; this test runs in the pass without -race")
	}
}

// Namespace returns a namespace that no other test uses.
func Namespace() string { return "t" + strings.ToLower(rand.Text()[:10]) }

// NewBus opens a bus in a namespace, with a registry of its own and no log. It is closed with the test.
func NewBus(tb testing.TB, namesrv, namespace string, topics ...mq.Topic) (*mq.Bus, *prometheus.Registry) {
	tb.Helper()
	reg := prometheus.NewRegistry()
	b, err := mq.Open(mq.Config{
		Namesrv: []string{namesrv}, Namespace: namespace, Topics: topics, Registerer: reg,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { Close(tb, b) })
	return b, reg
}

// Start starts b or fails the test.
func Start(tb testing.TB, b *mq.Bus) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	if err := b.Start(ctx); err != nil {
		tb.Fatal(err)
	}
}

// Close closes b; not being able to is a test failure.
func Close(tb testing.TB, b *mq.Bus) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		tb.Errorf("close: %v", err)
	}
}

// Send sends m or fails the test.
func Send(tb testing.TB, b *mq.Bus, m mq.Message) {
	tb.Helper()
	if err := b.Producer().Send(tb.Context(), m); err != nil {
		tb.Fatalf("send %s: %v", m.Key, err)
	}
}

// Delivery is one call of a handler.
type Delivery struct {
	mq.Message
	At time.Time
}

// Inbox records what a handler gets.
type Inbox struct {
	mu  sync.Mutex
	got []Delivery
}

// Handler returns a handler that records the message and then answers what answer says; nil acknowledges.
func (in *Inbox) Handler(answer func(m mq.Message) error) mq.Handler {
	return func(_ context.Context, m mq.Message) error {
		in.mu.Lock()
		in.got = append(in.got, Delivery{m, time.Now()})
		in.mu.Unlock()
		if answer == nil {
			return nil
		}
		return answer(m)
	}
}

// All returns the deliveries so far, in their order.
func (in *Inbox) All() []Delivery {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]Delivery(nil), in.got...)
}

// Of returns the deliveries of one key so far.
func (in *Inbox) Of(key string) []Delivery {
	var found []Delivery
	for _, d := range in.All() {
		if d.Key == key {
			found = append(found, d)
		}
	}
	return found
}

// WaitFor returns when there are n deliveries of key, or fails the test.
func (in *Inbox) WaitFor(tb testing.TB, key string, n int) []Delivery {
	tb.Helper()
	testkit.EventuallyTrue(tb, patience, "delivery of "+key, func() bool { return len(in.Of(key)) >= n })
	return in.Of(key)
}

// WaitForKeys returns when n different keys were delivered, or fails the test.
func (in *Inbox) WaitForKeys(tb testing.TB, n int) {
	tb.Helper()
	testkit.EventuallyTrue(tb, patience, "all deliveries", func() bool {
		keys := make(map[string]bool)
		for _, d := range in.All() {
			keys[d.Key] = true
		}
		return len(keys) >= n
	})
}

// Count returns the sum of a counter over all of its labels.
func Count(tb testing.TB, reg *prometheus.Registry, name string) int {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return int(sum)
}
