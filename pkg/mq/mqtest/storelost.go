package mqtest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"holdfast/pkg/mq"
)

// storeLostTime is how long consumers may take, after the broker has returned without its store, to handle what is sent
// to it.
const storeLostTime = 30 * time.Second

// storeLost has the broker lose its store three times under two replicas that stay connected. The new store then gets
// fewer messages than the old one had, more, and as many: offsets of the old store lie beyond the end of the new one,
// inside it, and exactly at its end. Every message must be handled all the same, by an unordered and by an ordered
// group. The second time a third process creates the topics before the replicas can find them missing.
func storeLost(t *testing.T, env Env) {
	if env.LoseStore == nil {
		t.Skip("this broker cannot lose its store")
	}
	l := newStoreLoss(t, env)
	l.round("first", 40, false)
	for _, r := range []struct {
		name  string
		sent  int
		third bool // another process creates the topics
	}{
		{"fewer", 8, false},
		{"more", 48, true},
		{"equal", 48, false},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		err := env.LoseStore(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		l.round(r.name, r.sent, r.third)
	}
}

// storeLoss is two replicas with an unordered and an ordered group each.
type storeLoss struct {
	t         *testing.T
	env       Env
	ns        string
	replicas  []*mq.Bus
	unordered Inbox
	ordered   Inbox
}

func newStoreLoss(t *testing.T, env Env) *storeLoss {
	l := &storeLoss{t: t, env: env, ns: Namespace()}
	for range 2 {
		b, _ := NewBus(t, env.Namesrv, l.ns, mq.Topic{Name: topicA})
		b.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, Handler: l.unordered.Handler(nil)})
		b.Subscribe(mq.Subscription{Group: groupA + "-ordered", Topic: topicA, Ordered: true, Handler: l.ordered.Handler(nil)})
		Start(t, b)
		l.replicas = append(l.replicas, b)
	}
	return l
}

// round sends n messages and waits until both groups have handled all of them.
func (l *storeLoss) round(name string, n int, third bool) {
	l.t.Helper()
	begin := time.Now()
	sender := l.replicas[0]
	if third {
		sender, _ = NewBus(l.t, l.env.Namesrv, l.ns, mq.Topic{Name: topicA})
		Start(l.t, sender)
	}
	var missing []string
	for i := range n {
		m := mq.Message{Topic: topicA, Key: fmt.Sprintf("%s-%d", name, i), ShardKey: fmt.Sprintf("s%d", i%8), Body: body(name)}
		if !within(storeLostTime-time.Since(begin), func() bool { return sender.Producer().Send(l.t.Context(), m) == nil }) {
			l.t.Fatalf("%s: message %d could not be sent within %v of the broker's return", name, i, storeLostTime)
		}
		missing = append(missing, m.Key)
	}
	sent := time.Since(begin)
	inOrder := slices.Clone(missing)
	within(storeLostTime-time.Since(begin), func() bool {
		missing, inOrder = unhandled(&l.unordered, missing), unhandled(&l.ordered, inOrder)
		return len(missing)+len(inOrder) == 0
	})
	if len(missing)+len(inOrder) > 0 {
		l.t.Fatalf("%s: of %d messages the unordered group skipped %d %v, the ordered group %d %v", name, n, len(missing), missing, len(inOrder), inOrder)
	}
	l.t.Logf("%s: %d messages sent after %v, handled after %v; deliveries: %d unordered, %d ordered", name, n,
		sent.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond), len(l.unordered.All()), len(l.ordered.All()))
}

// unhandled returns those of keys that in has not seen.
func unhandled(in *Inbox, keys []string) []string {
	seen := make(map[string]bool)
	for _, d := range in.All() {
		seen[d.Key] = true
	}
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return seen[key] })
}

// within waits until ok, for at most d.
func within(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); !ok(); {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}
