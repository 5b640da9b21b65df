package mqtest

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/mq"
)

// heldUp is how long a message of an ordered queue may wait while its queue changes hands. It is a good deal less than
// the minute after which a broker takes a queue away from an owner that did not release it.
const heldUp = 30 * time.Second

// orderedReplicas has a second consumer join an ordered group and leave it again, under load. Both share the queues,
// each key's messages stay in order across the changes, and no message waits for the first owner's lock to run out.
func orderedReplicas(t *testing.T, env Env) {
	ns := Namespace()
	l := &orderedLoad{sent: make(map[string]time.Time), by: make(map[string]int), last: make(map[string]int)}
	first := l.replica(t, env, ns, "first")
	stop := l.send(t, first, 8)
	testkit.EventuallyTrue(t, patience, "the first replica to work", func() bool { return l.handledBy("first") > 20 })

	second := l.replica(t, env, ns, "second")
	testkit.EventuallyTrue(t, patience, "the second replica to work", func() bool { return l.handledBy("second") > 20 })
	joined := l.worst()

	Close(t, second)
	before := l.handledBy("first")
	testkit.EventuallyTrue(t, patience, "the first replica to work on", func() bool { return l.handledBy("first") > before+100 })
	stop()
	testkit.EventuallyTrue(t, patience, "all messages", func() bool { return l.waiting() == 0 })
	left := l.worst()

	t.Logf("the longest that a message waited: %v after a replica had joined, %v after it had left", joined.Round(time.Millisecond), left.Round(time.Millisecond))
	if max(joined, left) > heldUp {
		t.Errorf("messages waited %v, and %v: the queues were not handed over", joined, left)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fault := range l.faults {
		t.Error(fault)
	}
}

// orderedLoad sends numbered messages for several keys and records which consumer handles each.
type orderedLoad struct {
	mu      sync.Mutex
	sent    map[string]time.Time // those not handled yet
	by      map[string]int       // messages handled, by replica
	last    map[string]int       // the number last handled, by shard key
	longest time.Duration        // that a message waited, since worst was called last
	faults  []string
}

func (l *orderedLoad) replica(t *testing.T, env Env, ns, name string) *mq.Bus {
	t.Helper()
	b, _ := NewBus(t, env.Namesrv, ns, mq.Topic{Name: topicA})
	b.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, Ordered: true, Handler: func(_ context.Context, m mq.Message) error {
		l.handled(name, m)
		return nil
	}})
	Start(t, b)
	return b
}

// send sends a message for each key again and again until stop is called.
func (l *orderedLoad) send(t *testing.T, b *mq.Bus, keys int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	sending.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			for k := range keys {
				shard := fmt.Sprintf("s%d", k)
				key := fmt.Sprintf("%s-%d", shard, n)
				l.mu.Lock()
				l.sent[key] = time.Now()
				l.mu.Unlock()
				if err := b.Producer().Send(context.WithoutCancel(ctx), mq.Message{Topic: topicA, Key: key, ShardKey: shard, Body: []byte(strconv.Itoa(n))}); err != nil {
					t.Errorf("send %s: %v", key, err)
				}
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	return func() {
		cancel()
		sending.Wait()
	}
}

func (l *orderedLoad) handled(by string, m mq.Message) {
	n, err := strconv.Atoi(string(m.Body))
	l.mu.Lock()
	defer l.mu.Unlock()
	at, first := l.sent[m.Key]
	if !first {
		return // a duplicate, which a queue that changes hands may bring
	}
	delete(l.sent, m.Key)
	if want, ok := l.last[m.ShardKey]; err != nil || ok && n != want+1 || !ok && n != 0 {
		l.faults = append(l.faults, fmt.Sprintf("%s was handled by the %s after number %d", m.Key, by, want))
	}
	l.last[m.ShardKey] = n
	l.by[by]++
	l.longest = max(l.longest, time.Since(at))
}

func (l *orderedLoad) handledBy(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.by[name]
}

func (l *orderedLoad) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sent)
}

// worst is the longest that a message waited since it was called last, those that still wait included.
func (l *orderedLoad) worst() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.longest
	for _, at := range l.sent {
		d = max(d, time.Since(at))
	}
	l.longest = 0
	return d
}
