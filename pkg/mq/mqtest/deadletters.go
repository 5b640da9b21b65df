package mqtest

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/mq"
)

// resendDeadLetters lists the dead letters of a group without consuming them, and sends them again in two steps.
func resendDeadLetters(t *testing.T, env Env) {
	b, _ := NewBus(t, env.Namesrv, Namespace(), mq.Topic{Name: topicA})
	var in Inbox
	var mended atomic.Bool
	b.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, Handler: in.Handler(func(m mq.Message) error {
		if m.Key == "good" || mended.Load() {
			return nil
		}
		return mq.Discard(errRefused)
	})})
	if _, err := b.DeadLetters(t.Context(), groupA, 10); err == nil {
		t.Error("dead letters of a bus that does not run")
	}
	Start(t, b)
	dead := func(want ...string) []mq.DeadLetter {
		var found []mq.DeadLetter
		testkit.EventuallyTrue(t, patience, fmt.Sprintf("the dead letters are %v", want), func() bool {
			var err error
			if found, err = b.DeadLetters(t.Context(), groupA, 10); err != nil {
				t.Fatal(err)
			}
			var keys []string
			for _, l := range found {
				keys = append(keys, l.Key)
			}
			slices.Sort(keys)
			return slices.Equal(keys, want)
		})
		return found
	}
	dead()
	if found, err := b.DeadLetters(t.Context(), "never-there", 10); err != nil || len(found) != 0 {
		t.Errorf("dead letters of a group that was never there: %v, error %v", found, err)
	}
	Send(t, b, mq.Message{Topic: topicA, Key: "good", Body: body("good")})
	for _, key := range []string{"a", "b", "c"} {
		Send(t, b, mq.Message{Topic: topicA, Key: key, ShardKey: "s", Body: body(key), Headers: map[string]string{"h": "v"}})
		in.WaitFor(t, key, 1)
	}
	dead("a", "b", "c")
	for _, l := range dead("a", "b", "c") { // listing has consumed none
		if l.Topic != topicA || l.Group != groupA || string(l.Body) != string(body(l.Key)) || l.Headers["h"] != "v" || l.ShardKey != "s" || l.DeadAt.IsZero() {
			t.Errorf("the dead letter changed: %+v", l)
		}
	}
	mended.Store(true)
	if n, err := b.ResendDeadLetters(t.Context(), groupA, 1); err != nil || n != 1 {
		t.Errorf("sent %d again, error %v; want 1", n, err)
	}
	if found, err := b.DeadLetters(t.Context(), groupA, 10); err != nil || len(found) != 2 {
		t.Errorf("%d dead letters after one was sent again, error %v; want 2", len(found), err)
	}
	if n, err := b.ResendDeadLetters(t.Context(), groupA, 10); err != nil || n != 2 {
		t.Errorf("sent %d again, error %v; want 2", n, err)
	}
	for _, key := range []string{"a", "b", "c"} {
		again := in.WaitFor(t, key, 2)[1]
		if _, marked := again.Headers[mq.HeaderOriginTopic]; again.Topic != topicA || again.Attempt != 0 || marked {
			t.Errorf("sent again: %+v", again.Message)
		}
	}
	dead()
	if n, err := b.ResendDeadLetters(t.Context(), groupA, 10); err != nil || n != 0 {
		t.Errorf("sent %d again, error %v; none was left", n, err)
	}
}
