package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/internal/events"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/mq"
	"holdfast/pkg/telemetry"
	"holdfast/sql"
)

func newStore(t *testing.T) (*store.Store, *gorm.DB) {
	t.Helper()
	db := dbtest.New(t, sql.Orders())
	return store.New(db, nil), db
}

// placed inserts and places an order, which writes its timeout into the outbox.
func placed(t *testing.T, s *store.Store, window time.Duration) string {
	t.Helper()
	no := ulid.Make().String()
	o := order.Order{OrderNo: no, GroupID: no, UserID: "ann", IdempotencyKey: no, RequestHash: ordertest.RequestHash, Flow: "test", Items: []order.Item{{SKU: "A", Quantity: 1}}}
	if _, inserted, err := ordertest.InsertFor(t.Context(), s, o, window); err != nil || !inserted {
		t.Fatalf("inserted %v, error %v", inserted, err)
	}
	ctx := telemetry.WithRequestID(t.Context(), "request-"+no)
	_, err := ordertest.Place(ctx, s, no, store.Placement{
		Items: []order.Item{{SKU: "A", Title: "A", Quantity: 1, UnitPriceCents: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return no
}

func pay(t *testing.T, s *store.Store, orderNo string) {
	t.Helper()
	if _, err := s.Pay(t.Context(), "ann", orderNo); err != nil {
		t.Fatal(err)
	}
}

// run starts a relay that stops with the test, or when stop is called.
func run(t *testing.T, s *store.Store, send mq.Producer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		events.NewRelay(events.RelayConfig{
			Store: s, Send: send, Log: slog.New(slog.DiscardHandler), Parked: prometheus.NewCounter(prometheus.CounterOpts{Name: "parked"}),
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
	ordertest.Broker
	order *journal
	meet  *sync.WaitGroup // unless nil: its first send waits for everybody else's
	first sync.Once
}

type journal struct {
	mu  sync.Mutex
	all []entry
}

type entry struct{ relay, topic, orderNo string }

func (r *recorder) Send(ctx context.Context, m mq.Message) error {
	if r.meet != nil {
		r.first.Do(func() { r.meet.Done(); r.meet.Wait() })
	}
	if err := r.Broker.Send(ctx, m); err != nil {
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

func allSent(t *testing.T, s *store.Store) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, "the outbox is empty", func() error {
		n, _, err := s.OutboxState(t.Context())
		if err == nil && n > 0 {
			err = fmt.Errorf("%d messages are unsent", n)
		}
		return err
	})
}

// inOrder expects each order's timeout before its payment, each at least once.
func inOrder(t *testing.T, all []entry, orderNos []string) {
	t.Helper()
	at := map[string]int{}
	for i, e := range all {
		if key := e.topic + e.orderNo; at[key] == 0 {
			at[key] = i + 1
		}
	}
	for _, no := range orderNos {
		first, second := at[orderapi.TopicOrderTimeout+no], at[orderapi.TopicOrderEvents+no]
		if first == 0 || second < first {
			t.Errorf("order %s: timeout sent as number %d, payment as %d", no, first, second)
		}
	}
}

// TestRelay_twoReplicas has two replicas share a backlog: both work, and each order's messages leave in order.
func TestRelay_twoReplicas(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	other := store.New(db, nil)
	var orderNos []string
	for range 60 {
		no := placed(t, s, time.Hour)
		pay(t, s, no)
		orderNos = append(orderNos, no)
	}
	j := &journal{}
	var meet sync.WaitGroup // else one of them may be through before the other looks
	meet.Add(2)
	run(t, s, &recorder{name: "one", order: j, meet: &meet})
	run(t, other, &recorder{name: "two", order: j, meet: &meet})
	allSent(t, s)
	all := j.entries()
	inOrder(t, all, orderNos)
	by := map[string]int{}
	for _, e := range all {
		by[e.relay]++
	}
	if len(all) != 2*len(orderNos) || by["one"] == 0 || by["two"] == 0 {
		t.Errorf("%d messages sent, by relay %v; want %d, by both", len(all), by, 2*len(orderNos))
	}
}

// TestRelay_lateReplica: a replica that starts when another one holds everything gets its share.
func TestRelay_lateReplica(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	j := &journal{}
	run(t, s, &recorder{name: "early", order: j})
	placed(t, s, time.Hour)
	allSent(t, s)
	late := store.New(db, nil)
	run(t, late, &recorder{name: "late", order: j})
	testkit.Eventually(t, 20*time.Second, "the late replica sends something", func() error {
		placed(t, late, time.Hour)
		for _, e := range j.entries() {
			if e.relay == "late" {
				return nil
			}
		}
		return errors.New("it sent nothing")
	})
}

// TestRelay_failingProducer fails some messages for a while. An order's later messages wait for its first; other orders
// go on.
func TestRelay_failingProducer(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	var orderNos []string
	for range 20 {
		no := placed(t, s, time.Hour)
		pay(t, s, no)
		orderNos = append(orderNos, no)
	}
	j := &journal{}
	one, two := &recorder{name: "one", order: j}, &recorder{name: "two", order: j}
	bad := orderNos[3]
	fails := func(m mq.Message) bool { return m.Key == bad && m.Topic == orderapi.TopicOrderTimeout }
	one.FailIf(fails)
	two.FailIf(fails)
	run(t, s, one)
	run(t, store.New(db, nil), two)
	testkit.Eventually(t, 20*time.Second, "only the bad order's messages are left", func() error {
		var left []string
		err := db.Raw("SELECT shard_key FROM outbox WHERE sent_at IS NULL AND attempts > 0 OR sent_at IS NULL AND topic = ?", orderapi.TopicOrderEvents).Scan(&left).Error
		if err == nil && (len(left) != 2 || left[0] != bad || left[1] != bad) {
			err = fmt.Errorf("left %v", left)
		}
		return err
	})
	one.FailIf(nil)
	two.FailIf(nil)
	allSent(t, s)
	inOrder(t, j.entries(), orderNos)
}

// TestRelay_message: a message as the broker gets it.
func TestRelay_message(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	b := &ordertest.Broker{}
	run(t, s, b)
	no := placed(t, s, 100*time.Hour)
	pay(t, s, no)
	allSent(t, s)
	sent := b.Sent()
	if len(sent) != 2 {
		t.Fatalf("%d messages sent, want 2", len(sent))
	}
	timeout, paid := sent[0], sent[1]
	if ahead := time.Until(timeout.DeliverAt); timeout.Topic != orderapi.TopicOrderTimeout || ahead < 70*time.Hour || ahead > 72*time.Hour {
		t.Errorf("timeout %+v is delivered in %v; the broker takes at most 72h", timeout, ahead)
	}
	var body orderapi.OrderEvent
	if err := json.Unmarshal(paid.Body, &body); err != nil || body.OrderNo != no || body.Status != orderapi.StatusPaid {
		t.Errorf("payment %s, error %v", paid.Body, err)
	}
	if paid.ShardKey != no || !paid.DeliverAt.IsZero() {
		t.Errorf("payment %+v, want at once with the order's shard key", paid)
	}
}

// TestRelay_crash: what was sent and not marked is sent again, and a dead relay's shard is taken over.
func TestRelay_crash(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	no := placed(t, s, time.Hour)
	if _, ok, err := s.Claim(t.Context(), "dead", time.Second); err != nil || !ok {
		t.Fatalf("claimed %v, error %v", ok, err)
	}
	b := &ordertest.Broker{}
	stop := run(t, s, b)
	allSent(t, s)
	stop()
	var held int
	if err := db.Raw("SELECT COUNT(*) FROM outbox_shards WHERE owner <> ''").Scan(&held).Error; err != nil || held != 0 {
		t.Errorf("a relay that stopped holds %d shards, error %v", held, err)
	}
	if err := db.Exec("UPDATE outbox SET sent_at = NULL").Error; err != nil {
		t.Fatal(err)
	}
	run(t, s, b)
	allSent(t, s)
	if sent := b.Sent(); len(sent) != 2 || sent[0].Key != no || sent[1].Key != no {
		t.Errorf("sent %v, want the same twice", sent)
	}
}
