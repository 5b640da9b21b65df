package outbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/mq"
	"holdfast/pkg/outbox"
	"holdfast/sql"
)

// run starts a relay that stops with the test, or when stop is called.
func run(t *testing.T, table *outbox.Table, send mq.Producer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		outbox.NewRelay(outbox.RelayConfig{
			Table: table, Send: send, Log: slog.New(slog.DiscardHandler), Parked: prometheus.NewCounter(prometheus.CounterOpts{Name: "parked"}),
		}).Run(ctx)
	})
	stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// recorder records which relay sent which message.
type recorder struct {
	name string
	broker
	order *journal
	meet  *sync.WaitGroup // unless nil: its first send waits for everybody else's
	first sync.Once
}

type journal struct {
	mu  sync.Mutex
	all []entry
}

type entry struct{ relay, topic, subject string }

func (r *recorder) Send(ctx context.Context, m mq.Message) error {
	if r.meet != nil {
		r.first.Do(func() { r.meet.Done(); r.meet.Wait() })
	}
	if err := r.broker.Send(ctx, m); err != nil {
		return err
	}
	r.order.mu.Lock()
	defer r.order.mu.Unlock()
	r.order.all = append(r.order.all, entry{r.name, m.Topic, m.Key})
	return nil
}

func (j *journal) entries() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]entry(nil), j.all...)
}

func allSent(t *testing.T, table *outbox.Table) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, "the outbox is empty", func() error {
		n, _, err := table.State(t.Context())
		if err == nil && n > 0 {
			err = fmt.Errorf("%d messages are unsent", n)
		}
		return err
	})
}

// inOrder expects each subject's first message before its second, each at least once.
func inOrder(t *testing.T, all []entry, subjects []string) {
	t.Helper()
	at := map[string]int{}
	for i, e := range all {
		if key := e.topic + e.subject; at[key] == 0 {
			at[key] = i + 1
		}
	}
	for _, no := range subjects {
		first, second := at[topicFirst+no], at[topicSecond+no]
		if first == 0 || second < first {
			t.Errorf("subject %s: first message sent as number %d, second as %d", no, first, second)
		}
	}
}

// TestRelay_twoReplicas has two replicas share a backlog: both work, and each subject's messages leave in order.
func TestRelay_twoReplicas(t *testing.T) {
	t.Parallel()
	table, db := newTable(t)
	other := outbox.New(db, nil)
	var subjects []string
	for range 60 {
		no := begun(t, table, db)
		ended(t, table, db, no)
		subjects = append(subjects, no)
	}
	j := &journal{}
	var meet sync.WaitGroup // else one of them may be through before the other looks
	meet.Add(2)
	run(t, table, &recorder{name: "one", order: j, meet: &meet})
	run(t, other, &recorder{name: "two", order: j, meet: &meet})
	allSent(t, table)
	all := j.entries()
	inOrder(t, all, subjects)
	by := map[string]int{}
	for _, e := range all {
		by[e.relay]++
	}
	if len(all) != 2*len(subjects) || by["one"] == 0 || by["two"] == 0 {
		t.Errorf("%d messages sent, by relay %v; want %d, by both", len(all), by, 2*len(subjects))
	}
}

// TestRelay_lateReplica: a replica that starts when another one holds everything gets its share.
func TestRelay_lateReplica(t *testing.T) {
	t.Parallel()
	table, db := newTable(t)
	j := &journal{}
	run(t, table, &recorder{name: "early", order: j})
	begun(t, table, db)
	allSent(t, table)
	late := outbox.New(db, nil)
	run(t, late, &recorder{name: "late", order: j})
	testkit.Eventually(t, 20*time.Second, "the late replica sends something", func() error {
		begun(t, late, db)
		for _, e := range j.entries() {
			if e.relay == "late" {
				return nil
			}
		}
		return errors.New("it sent nothing")
	})
}

// TestRelay_failingProducer fails some messages for a while. A subject's second message waits for its first; other
// subjects go on.
func TestRelay_failingProducer(t *testing.T) {
	t.Parallel()
	table, db := newTable(t)
	var subjects []string
	for range 20 {
		no := begun(t, table, db)
		ended(t, table, db, no)
		subjects = append(subjects, no)
	}
	j := &journal{}
	one, two := &recorder{name: "one", order: j}, &recorder{name: "two", order: j}
	bad := subjects[3]
	fails := func(m mq.Message) error {
		if m.Key == bad && m.Topic == topicFirst {
			return errBroker
		}
		return nil
	}
	one.refuseIf(fails)
	two.refuseIf(fails)
	run(t, table, one)
	run(t, outbox.New(db, nil), two)
	testkit.Eventually(t, 20*time.Second, "only the bad subject's messages are left", func() error {
		var left []string
		err := db.Raw("SELECT shard_key FROM outbox WHERE sent_at IS NULL AND attempts > 0 OR sent_at IS NULL AND topic = ?", topicSecond).Scan(&left).Error
		if err == nil && (len(left) != 2 || left[0] != bad || left[1] != bad) {
			err = fmt.Errorf("left %v", left)
		}
		return err
	})
	one.refuseIf(nil)
	two.refuseIf(nil)
	allSent(t, table)
	inOrder(t, j.entries(), subjects)
}

// TestRelay_message: a message as the broker gets it.
func TestRelay_message(t *testing.T) {
	t.Parallel()
	table, db := newTable(t)
	b := &broker{}
	run(t, table, b)
	write(t, table, db, outbox.Event{ID: "A:later", Topic: topicFirst, Key: "A", Body: []int{1}, DeliverAt: time.Now().Add(100 * time.Hour)})
	ended(t, table, db, "A")
	allSent(t, table)
	sent := b.messages()
	if len(sent) != 2 {
		t.Fatalf("%d messages sent, want 2", len(sent))
	}
	later, ended := sent[0], sent[1]
	if ahead := time.Until(later.DeliverAt); later.Topic != topicFirst || string(later.Body) != "[1]" || ahead < 70*time.Hour || ahead > 72*time.Hour {
		t.Errorf("message %+v is delivered in %v; the broker takes at most 72h", later, ahead)
	}
	var body map[string]string
	if err := json.Unmarshal(ended.Body, &body); err != nil || body["subject"] != "A" {
		t.Errorf("body %s, error %v", ended.Body, err)
	}
	if ended.Key != "A" || ended.ShardKey != "A" || !ended.DeliverAt.IsZero() {
		t.Errorf("message %+v, want it at once with its shard key", ended)
	}
}

// TestRelay_crash: what was sent and not marked is sent again, and a dead relay's shard is taken over.
func TestRelay_crash(t *testing.T) {
	t.Parallel()
	table, db := newTable(t)
	no := begun(t, table, db)
	if _, ok, err := table.Claim(t.Context(), "dead", time.Second); err != nil || !ok {
		t.Fatalf("claimed %v, error %v", ok, err)
	}
	b := &broker{}
	stop := run(t, table, b)
	allSent(t, table)
	stop()
	var held int
	if err := db.Raw("SELECT COUNT(*) FROM outbox_shards WHERE owner <> ''").Scan(&held).Error; err != nil || held != 0 {
		t.Errorf("a relay that stopped holds %d shards, error %v", held, err)
	}
	if err := db.Exec("UPDATE outbox SET sent_at = NULL").Error; err != nil {
		t.Fatal(err)
	}
	run(t, table, b)
	allSent(t, table)
	if sent := b.messages(); len(sent) != 2 || sent[0].Key != no || sent[1].Key != no {
		t.Errorf("sent %v, want the same twice", sent)
	}
}

// TestRelay_idle: an idle relay sends the database one statement in each poll interval, on both services' tables.
func TestRelay_idle(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]fs.FS{"orders": sql.Orders(), "inventory": sql.Inventory()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, db := newTableIn(t, schema)
			var statements atomic.Int64
			must(t, db.Callback().Row().Before("gorm:row").Register("count", func(*gorm.DB) { statements.Add(1) }))
			must(t, db.Callback().Query().Before("gorm:query").Register("count", func(*gorm.DB) { statements.Add(1) }))
			must(t, db.Callback().Raw().Before("gorm:raw").Register("count", func(*gorm.DB) { statements.Add(1) }))
			begin := time.Now()
			run(t, table, &broker{})
			const polls, interval = 4, 500 * time.Millisecond
			testkit.Eventually(t, 20*time.Second, "the relay has polled", func() error {
				if n := statements.Load(); n < polls {
					return fmt.Errorf("%d statements", n)
				}
				return nil
			})
			if took, least := time.Since(begin), (polls-1)*interval; took < least {
				t.Errorf("%d statements in %v: an idle relay sends one in %v", polls, took, interval)
			}
			begun(t, table, db) // what it polls for is still sent
			allSent(t, table)
		})
	}
}
