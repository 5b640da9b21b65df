package mqtest

import (
	"testing"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/mq"
)

// deleteNamespace deletes a namespace whose name is the beginning of another one's. The other keeps its topics, and a
// bus that starts in the deleted one again finds neither messages nor dead letters.
func deleteNamespace(t *testing.T, env Env) {
	ns := Namespace()
	kept, _ := NewBus(t, env.Namesrv, ns+"x", mq.Topic{Name: topicA})
	Start(t, kept)
	start := func() (*mq.Bus, *Inbox) {
		b, _ := NewBus(t, env.Namesrv, ns, mq.Topic{Name: topicA})
		in := &Inbox{}
		b.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, Handler: in.Handler(func(m mq.Message) error {
			if m.Key == "bad" {
				return mq.Discard(errRefused)
			}
			return nil
		})})
		Start(t, b)
		return b, in
	}
	letters := func(b *mq.Bus) int {
		found, err := b.DeadLetters(t.Context(), groupA, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	first, in := start()
	for _, key := range []string{"bad", "good"} {
		Send(t, first, mq.Message{Topic: topicA, Key: key, Body: body(key)})
		in.WaitFor(t, key, 1)
	}
	testkit.EventuallyTrue(t, patience, "the dead letter", func() bool { return letters(first) == 1 })
	Close(t, first)
	if err := mq.DeleteNamespace(t.Context(), env.Namesrv, ns); err != nil {
		t.Fatal(err)
	}
	if err := kept.Probe(t.Context()); err != nil {
		t.Errorf("the other namespace: %v", err)
	}
	second, in := start()
	Send(t, second, mq.Message{Topic: topicA, Key: "later", Body: body("later")})
	in.WaitFor(t, "later", 1)
	if n := letters(second); n != 0 || len(in.All()) != 1 {
		t.Errorf("%d dead letters and %d deliveries, want 0 and 1", n, len(in.All()))
	}
	if err := mq.DeleteNamespace(t.Context(), env.Namesrv, ""); err == nil {
		t.Error("the empty namespace was deleted")
	}
}
