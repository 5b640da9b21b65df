package mqtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
	"holdfast/pkg/telemetry"
)

const (
	topicA = "a"
	groupA = "readers"
)

var errRefused = errors.New("refused by the test")

// late is how much later than wished a delivery may come on a loaded machine.
const late = 10 * time.Second

func body(text string) []byte { return []byte(`{"text":"` + text + `"}`) }

func normal(t *testing.T, env Env) {
	b, reg := NewBus(t, env.Namesrv, Namespace(), mq.Topic{Name: topicA})
	var in Inbox
	b.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, Handler: in.Handler(nil)})
	Start(t, b)
	if err := b.Probe(t.Context()); err != nil {
		t.Errorf("probe of a running bus: %v", err)
	}
	sent := make(map[string]mq.Message)
	for i := range 50 {
		m := mq.Message{
			Topic: topicA, Key: fmt.Sprintf("k%d", i), ShardKey: fmt.Sprintf("s%d", i%3),
			// Large ones are compressed.
			Body: body(strings.Repeat("x", i*200)), Headers: map[string]string{"number": fmt.Sprint(i)},
		}
		sent[m.Key] = m
		Send(t, b, m)
	}
	in.WaitForKeys(t, len(sent))
	for _, d := range in.All() {
		got := d.Message
		if got.ID == "" {
			t.Errorf("%s has no identifier", got.Key)
		}
		if age := time.Since(got.SentAt); age < -time.Second || age > time.Minute {
			t.Errorf("%s was sent %s ago", got.Key, age)
		}
		got.ID, got.SentAt = "", time.Time{}
		if diff := cmp.Diff(sent[got.Key], got); diff != "" {
			t.Errorf("message changed on its way (-sent +got):\n%s", diff)
		}
	}
	if n := Count(t, reg, "mq_sent_total"); n != len(sent) {
		t.Errorf("mq_sent_total = %d, want %d", n, len(sent))
	}
}

func requestID(t *testing.T, env Env) {
	b, _ := NewBus(t, env.Namesrv, Namespace(), mq.Topic{Name: topicA})
	ids := make(chan string, 10)
	b.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, Timeout: time.Minute, Handler: func(ctx context.Context, _ mq.Message) error {
		if _, ok := ctx.Deadline(); !ok {
			ids <- "no deadline"
		}
		ids <- telemetry.RequestID(ctx)
		return nil
	}})
	Start(t, b)
	ctx := telemetry.WithRequestID(t.Context(), "request-1")
	if err := b.Producer().Send(ctx, mq.Message{Topic: topicA, Key: "k", Body: body("")}); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-ids:
		if got != "request-1" {
			t.Errorf("request id in the handler = %q, want request-1", got)
		}
	case <-time.After(patience):
		t.Fatal("not delivered")
	}
}

func twoGroups(t *testing.T, env Env) {
	b, _ := NewBus(t, env.Namesrv, Namespace(), mq.Topic{Name: topicA})
	var one, two Inbox
	b.Subscribe(mq.Subscription{Group: "one", Topic: topicA, Handler: one.Handler(nil)})
	b.Subscribe(mq.Subscription{Group: "two", Topic: topicA, Handler: two.Handler(nil)})
	Start(t, b)
	for i := range 10 {
		Send(t, b, mq.Message{Topic: topicA, Key: fmt.Sprintf("k%d", i), Body: body("")})
	}
	one.WaitForKeys(t, 10)
	two.WaitForKeys(t, 10)
}

// retryThenDeadLetter also holds the first redelivery to about a second, though the group is new.
func retryThenDeadLetter(t *testing.T, env Env) {
	b, reg := NewBus(t, env.Namesrv, Namespace(), mq.Topic{Name: topicA})
	var in, dead Inbox
	b.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, MaxAttempts: 3, Handler: in.Handler(func(m mq.Message) error {
		if m.Key == "bad" || m.Key == "once" && m.Attempt == 0 {
			return errRefused
		}
		return nil
	})})
	b.Subscribe(mq.Subscription{Group: "graves", Topic: mq.DeadLetterTopic(groupA), Handler: dead.Handler(nil)})
	Start(t, b)
	Send(t, b, mq.Message{Topic: topicA, Key: "once", Body: body("once")})
	Send(t, b, mq.Message{Topic: topicA, Key: "bad", Body: body("bad"), Headers: map[string]string{"h": "v"}})

	once := in.WaitFor(t, "once", 2)
	if gap := once[1].At.Sub(once[0].At); gap < 900*time.Millisecond || gap > late {
		t.Errorf("first redelivery after %s, want about 1 s", gap)
	}
	grave := dead.WaitFor(t, "bad", 1)[0]
	var attempts []int
	for _, d := range in.Of("bad") {
		attempts = append(attempts, d.Attempt)
	}
	if diff := cmp.Diff([]int{0, 1, 2}, attempts); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	if string(grave.Body) != string(body("bad")) || grave.Headers["h"] != "v" || grave.Headers[mq.HeaderOriginTopic] != topicA {
		t.Errorf("the dead letter changed: %+v", grave)
	}
	if n := Count(t, reg, "mq_dead_letters_total"); n != 1 {
		t.Errorf("mq_dead_letters_total = %d, want 1", n)
	}
	if n := len(in.Of("once")); n != 2 {
		t.Errorf("the message that succeeded at the second attempt was delivered %d times", n)
	}
}

func discard(t *testing.T, env Env) {
	b, _ := NewBus(t, env.Namesrv, Namespace(), mq.Topic{Name: topicA})
	var in, dead Inbox
	b.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, Handler: in.Handler(func(mq.Message) error {
		return fmt.Errorf("cannot be read: %w", mq.Discard(errRefused))
	})})
	b.Subscribe(mq.Subscription{Group: "graves", Topic: mq.DeadLetterTopic(groupA), Handler: dead.Handler(nil)})
	Start(t, b)
	Send(t, b, mq.Message{Topic: topicA, Key: "k", Body: body("")})
	dead.WaitFor(t, "k", 1)
	if n := len(in.Of("k")); n != 1 {
		t.Errorf("a discarded message was delivered %d times", n)
	}
}

func delayNotEarly(t *testing.T, env Env) {
	b, _ := NewBus(t, env.Namesrv, Namespace(), mq.Topic{Name: topicA})
	var in Inbox
	b.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, Handler: in.Handler(nil)})
	Start(t, b)
	now := time.Now()
	wish := map[string]time.Time{
		"past": now.Add(-time.Hour), "300ms": now.Add(300 * time.Millisecond), "1s": now.Add(time.Second),
		"2.7s": now.Add(2700 * time.Millisecond), "4s": now.Add(4 * time.Second),
	}
	for key, at := range wish {
		Send(t, b, mq.Message{Topic: topicA, Key: key, Body: body(""), DeliverAt: at})
	}
	in.WaitForKeys(t, len(wish))
	for _, d := range in.All() {
		earliest := wish[d.Key]
		if d.At.Before(earliest) {
			t.Errorf("%s: delivered %s early", d.Key, earliest.Sub(d.At))
		}
		if earliest.Before(now) {
			earliest = now
		}
		if lag := d.At.Sub(earliest); lag > late {
			t.Errorf("%s: delivered %s late", d.Key, lag)
		}
	}
	err := b.Producer().Send(t.Context(), mq.Message{Topic: topicA, Key: "far", Body: body(""), DeliverAt: now.Add(73 * time.Hour)})
	if !errors.Is(err, mq.ErrInvalidMessage) || fault.Ambiguous(err) {
		t.Errorf("73 h ahead: %v, want an unambiguous %v", err, mq.ErrInvalidMessage)
	}
}

// orderPerKey lets some messages fail twice: those behind them must wait.
func orderPerKey(t *testing.T, env Env) {
	const keys, each = 6, 15
	b, _ := NewBus(t, env.Namesrv, Namespace(), mq.Topic{Name: topicA})
	var (
		in   Inbox
		mu   sync.Mutex
		done = make(map[string][]string)
	)
	b.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, Ordered: true, Handler: in.Handler(func(m mq.Message) error {
		if strings.HasSuffix(m.Key, "5") && m.Attempt < 2 {
			return errRefused
		}
		mu.Lock()
		defer mu.Unlock()
		done[m.ShardKey] = append(done[m.ShardKey], m.Key)
		return nil
	})})
	Start(t, b)
	want := make(map[string][]string)
	for i := range each {
		for k := range keys {
			m := mq.Message{Topic: topicA, Key: fmt.Sprintf("m%d-%d", k, i), ShardKey: fmt.Sprintf("s%d", k), Body: body("")}
			Send(t, b, m)
			want[m.ShardKey] = append(want[m.ShardKey], m.Key)
		}
	}
	total := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, d := range done {
			n += len(d)
		}
		return n
	}
	testkit.EventuallyTrue(t, patience, "all messages", func() bool { return total() >= keys*each })
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(want, done); diff != "" {
		t.Errorf("order (-sent +handled):\n%s", diff)
	}
	if got := len(in.Of("m0-5")); got != 3 {
		t.Errorf("a message that fails twice was delivered %d times, want 3", got)
	}
}

// orderedDeadLetter gives up the first message of a queue; the one behind it then goes on.
func orderedDeadLetter(t *testing.T, env Env) {
	b, _ := NewBus(t, env.Namesrv, Namespace(), mq.Topic{Name: topicA})
	var in, dead Inbox
	b.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, Ordered: true, MaxAttempts: 3, Handler: in.Handler(func(m mq.Message) error {
		switch m.Key {
		case "bad":
			return errRefused
		case "discarded":
			return mq.Discard(errRefused)
		}
		return nil
	})})
	b.Subscribe(mq.Subscription{Group: "graves", Topic: mq.DeadLetterTopic(groupA), Handler: dead.Handler(nil)})
	Start(t, b)
	for _, key := range []string{"bad", "discarded", "good"} {
		Send(t, b, mq.Message{Topic: topicA, Key: key, ShardKey: "one", Body: body("")})
	}
	in.WaitFor(t, "good", 1)
	dead.WaitForKeys(t, 2)
	var order []string
	for _, d := range in.All() {
		order = append(order, fmt.Sprintf("%s/%d", d.Key, d.Attempt))
	}
	if diff := cmp.Diff([]string{"bad/0", "bad/1", "bad/2", "discarded/0", "good/0"}, order); diff != "" {
		t.Errorf("deliveries (-want +got):\n%s", diff)
	}
}

// duplicateDelivery shows what a consumer must cope with: the effect is done, the acknowledgement is lost.
func duplicateDelivery(t *testing.T, env Env) {
	b, _ := NewBus(t, env.Namesrv, Namespace(), mq.Topic{Name: topicA})
	var (
		in      Inbox
		mu      sync.Mutex
		effects = make(map[string]int)
	)
	b.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, Handler: in.Handler(func(m mq.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if effects[m.Key] == 0 {
			effects[m.Key]++
			return errRefused // stands for a crash after the effect
		}
		return nil
	})})
	Start(t, b)
	Send(t, b, mq.Message{Topic: topicA, Key: "k", Body: body("")})
	again := in.WaitFor(t, "k", 2)
	mu.Lock()
	defer mu.Unlock()
	if effects["k"] != 1 {
		t.Errorf("%d effects, want 1", effects["k"])
	}
	if string(again[1].Body) != string(again[0].Body) || again[1].Topic != topicA || again[1].Attempt != 1 {
		t.Errorf("the second delivery differs: %+v", again[1])
	}
}
