package mqtest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast/pkg/mq"
)

const groupTx = "tellers"

// answers is a checker with a fixed answer for each key. It counts the questions.
type answers struct {
	mu    sync.Mutex
	say   map[string]mq.TxState
	asked map[string]int
}

func (a *answers) check(m mq.Message) mq.TxState {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asked == nil {
		a.asked = make(map[string]int)
	}
	a.asked[m.Key]++
	return a.say[m.Key]
}

func (a *answers) times(key string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[key]
}

// startTx starts a bus with a transactional producer and a consumer of its topic.
func startTx(t *testing.T, env Env, ns string, check mq.Checker) (*mq.Bus, mq.TxProducer, *Inbox) {
	t.Helper()
	b, _ := NewBus(t, env.Namesrv, ns, mq.Topic{Name: topicA})
	in := &Inbox{}
	b.Subscribe(mq.Subscription{Group: groupA, Topic: topicA, Handler: in.Handler(nil)})
	tx := b.TxProducer(groupTx, check)
	Start(t, b)
	return b, tx, in
}

func sendTx(t *testing.T, tx mq.TxProducer, key string, state mq.TxState) {
	t.Helper()
	called := false
	m := mq.Message{Topic: topicA, Key: key, Body: body(key), Headers: map[string]string{"h": key}}
	err := tx.SendInTx(t.Context(), m, func(context.Context) mq.TxState {
		called = true
		return state
	})
	if err != nil || !called {
		t.Fatalf("send %s in a transaction: %v; local transaction called: %v", key, err, called)
	}
}

func commit(t *testing.T, env Env) {
	var a answers
	_, tx, in := startTx(t, env, Namespace(), a.check)
	seen := make(chan int, 1)
	m := mq.Message{Topic: topicA, Key: "k", Body: body("k"), Headers: map[string]string{"h": "v"}}
	if err := tx.SendInTx(t.Context(), m, func(context.Context) mq.TxState {
		seen <- len(in.Of("k"))
		return mq.TxCommit
	}); err != nil {
		t.Fatal(err)
	}
	got := in.WaitFor(t, "k", 1)[0]
	if n := <-seen; n != 0 {
		t.Error("the message was delivered before its transaction ended")
	}
	if string(got.Body) != string(m.Body) || got.Headers["h"] != "v" || got.Topic != topicA {
		t.Errorf("the message changed: %+v", got)
	}
}

// rollback waits for a later message to go through a whole check-back: by then the one that was rolled back would have
// been delivered or asked about, if it ever were.
func rollback(t *testing.T, env Env) {
	a := answers{say: map[string]mq.TxState{"later": mq.TxCommit, "gone": mq.TxCommit}}
	_, tx, in := startTx(t, env, Namespace(), a.check)
	sendTx(t, tx, "gone", mq.TxRollback)
	sendTx(t, tx, "later", mq.TxUnknown)
	in.WaitFor(t, "later", 1)
	if n := len(in.Of("gone")); n != 0 {
		t.Errorf("a message that was rolled back was delivered %d times", n)
	}
	if n := a.times("gone"); n != 0 {
		t.Errorf("a message that was rolled back was asked about %d times", n)
	}
}

func unknownThenCheckBack(t *testing.T, env Env) {
	a := answers{say: map[string]mq.TxState{"yes": mq.TxCommit, "no": mq.TxRollback}}
	_, tx, in := startTx(t, env, Namespace(), func(m mq.Message) mq.TxState {
		if m.Topic != topicA || string(m.Body) != string(body(m.Key)) || m.Headers["h"] != m.Key {
			t.Errorf("the question's message changed: %+v", m)
		}
		if m.Key == "slow" { // the second answer counts
			if state := a.check(m); a.times("slow") < 2 {
				return state
			}
			return mq.TxCommit
		}
		return a.check(m)
	})
	for _, key := range []string{"yes", "no", "slow"} {
		sendTx(t, tx, key, mq.TxUnknown)
	}
	in.WaitFor(t, "yes", 1)
	in.WaitFor(t, "slow", 1)
	if a.times("no") == 0 || len(in.Of("no")) != 0 {
		t.Errorf("rolled back by the check: asked %d times, delivered %d times", a.times("no"), len(in.Of("no")))
	}
	if a.times("slow") < 2 {
		t.Errorf("asked %d times about an unknown transaction, want at least 2", a.times("slow"))
	}
}

func checkerPanic(t *testing.T, env Env) {
	var asked atomic.Int32
	_, tx, in := startTx(t, env, Namespace(), func(mq.Message) mq.TxState {
		if asked.Add(1) == 1 {
			panic("in the checker")
		}
		return mq.TxCommit
	})
	sendTx(t, tx, "k", mq.TxUnknown)
	in.WaitFor(t, "k", 1)
	if asked.Load() < 2 {
		t.Errorf("asked %d times", asked.Load())
	}
}

// childEnv tells a second process of this test binary to die in the middle of a transaction: "name server namespace".
const childEnv = "HOLDFAST_MQTEST_CHILD"

// producerKilled has another process of the same producer group die after its local commit and before it could say so.
// The broker must ask this process.
func producerKilled(t *testing.T, env Env) {
	ns := Namespace()
	root, _, _ := strings.Cut(t.Name(), "/")
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+root+"$") //nolint:gosec // this very program
	child.Env = append(os.Environ(), childEnv+"="+env.Namesrv+" "+ns)
	out, err := child.CombinedOutput()
	if !bytes.Contains(out, []byte("committed")) {
		t.Fatalf("the child did not come to its local commit: %v\n%s", err, out)
	}
	a := answers{say: map[string]mq.TxState{"orphan": mq.TxCommit}}
	_, _, in := startTx(t, env, ns, a.check)
	in.WaitFor(t, "orphan", 1)
	if a.times("orphan") == 0 {
		t.Error("delivered without a question")
	}
}

// runChild is the other process's part.
func runChild(t *testing.T, where string) {
	namesrv, ns, _ := strings.Cut(where, " ")
	b, _ := NewBus(t, namesrv, ns, mq.Topic{Name: topicA})
	tx := b.TxProducer(groupTx, func(mq.Message) mq.TxState { return mq.TxUnknown })
	Start(t, b)
	err := tx.SendInTx(t.Context(), mq.Message{Topic: topicA, Key: "orphan", Body: body("orphan")}, func(context.Context) mq.TxState {
		_, _ = os.Stdout.WriteString("committed\n")
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			_ = self.Kill()
		}
		select {} // SIGKILL takes a moment
	})
	t.Fatalf("survived its own death: %v", err)
}
