package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/events"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
	"holdfast/pkg/header"
	"holdfast/pkg/mq"
	"holdfast/pkg/mq/mqtest"
)

// inbox keeps what arrives, by topic, as text.
type inbox struct {
	mu  sync.Mutex
	got map[string][]string
}

func (i *inbox) handle(_ context.Context, m mq.Message) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.got[m.Topic] = append(i.got[m.Topic], string(m.Body))
	return nil
}

// has returns nil when a message of the topic holds all parts.
func (i *inbox) has(topic string, parts ...string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
next:
	for _, body := range i.got[topic] {
		for _, p := range parts {
			if !strings.Contains(body, p) {
				continue next
			}
		}
		return nil
	}
	return fmt.Errorf("%s: %q", topic, i.got[topic])
}

// TestRun_broker runs the service on the real broker, with the sweeper and the reconciler out of the way: the delayed
// message expires an order that is not paid, and the check-back abandons one whose reserve was never answered and has
// its units given back.
func TestRun_broker(t *testing.T) {
	t.Parallel()
	mqtest.SkipIfRace(t)
	dsn, namesrv := dbtest.NewDSN(t, nil), stacktest.RocketMQ(t)
	// The first order is placed. The second is reserved, again and again, and no answer arrives.
	inventory := ordertest.NewInventory(t, ordertest.OK, ordertest.Lost)
	ports, err := stack.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	addr, ops := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	namespace := "order" + strings.ToLower(ulid.Make().String())
	env := map[string]string{
		"HTTP_ADDR": addr, "OPS_ADDR": ops, "MYSQL_DSN": dsn, "NAMESRV_ADDRS": namesrv, "INVENTORY_URLS": inventory.URL,
		"MQ_NAMESPACE": namespace, "INSTANCE_ID": namespace, "PAYMENT_TIMEOUT": "5s", "PENDING_GRACE": "5s", "BROKER_CHECK_INTERVAL": "2s", "SWEEP_AFTER": "1h", "RECONCILE_AFTER": "2h",
	}
	ctx, stop := context.WithCancel(t.Context())
	logs := &testkit.Buffer{}
	var running sync.WaitGroup
	running.Go(func() {
		if err := run(ctx, nil, func(name string) string { return env[name] }, logs); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	defer func() {
		stop()
		running.Wait()
		if t.Failed() {
			t.Log(logs)
		}
	}()
	in := subscribe(t, namesrv, namespace)
	testkit.Eventually(t, time.Minute, "the service is ready", func() error { return ready(ops, "mysql", "broker", "inventory") })

	placed := placeOn(t, addr, "placed", http.StatusCreated)
	pending := placeOn(t, addr, "pending", http.StatusAccepted)
	if got := inventory.State(pending); got != inventoryapi.StateReserved {
		t.Errorf("inventory holds %q for the pending order", got)
	}
	testkit.Eventually(t, time.Minute, "the unpaid order expires", func() error { return is(t, addr, placed, orderapi.StatusExpired) })
	testkit.Eventually(t, time.Minute, "its event arrives", func() error { return in.has(orderapi.TopicOrderEvents, placed, orderapi.StatusExpired) })
	testkit.Eventually(t, time.Minute, "the check-back abandons the pending order", func() error { return is(t, addr, pending, orderapi.StatusAbandoned) })
	testkit.Eventually(t, time.Minute, "its release arrives", func() error { return in.has(orderapi.TopicStockRelease, pending) })
	deadLetters(t, dsn, addr)
	if in.has(orderapi.TopicStockRelease, placed) == nil {
		t.Error("the placed order's half message was delivered")
	}
	if m := get(t, "http://"+ops+"/metrics"); !strings.Contains(m, `orders_healed_total{by="check-back"} 1`) ||
		!strings.Contains(m, `orders_healed_total{by="sweeper"} 0`) || !strings.Contains(m, `orders_total{status="EXPIRED"} 1`) {
		t.Error("the counters do not name the check-back, and only it, as the healer")
	}
}

// deadLetters has the outbox send a message that its consumer gives up, sees it listed, and sends it again: it is given
// up again, as a new dead letter.
func deadLetters(t *testing.T, dsn, addr string) {
	t.Helper()
	db, err := database.Open(t.Context(), dsn, database.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close(db)
	err = db.Exec(`INSERT INTO outbox (event_id, topic, shard, shard_key, payload, created_at)
		VALUES ('bad', ?, 1, 'BAD', '{"orders":[]}', UTC_TIMESTAMP(6))`, orderapi.TopicOrderTimeout).Error
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + addr + "/v1/dead-letters"
	listed := func(ids map[string]bool) func() error {
		return func() error {
			status, body := call(t, http.MethodGet, url, "", header.UserRole, orderapi.RoleAdmin)
			var found orderapi.DeadLetters
			if err := json.Unmarshal([]byte(body), &found); err != nil || status != http.StatusOK || len(found.DeadLetters) != 1 {
				return fmt.Errorf("%d %s", status, body)
			}
			l := found.DeadLetters[0]
			if l.Source != events.GroupTimeout || l.Topic != orderapi.TopicOrderTimeout || l.Key != "BAD" || ids[l.ID] {
				return fmt.Errorf("listed %+v, seen before %v", l, ids)
			}
			ids[l.ID] = true
			return nil
		}
	}
	ids := map[string]bool{}
	testkit.Eventually(t, time.Minute, "the dead letter is listed", listed(ids))
	if status, body := call(t, http.MethodPost, url+"/resend", "{}", header.UserRole, orderapi.RoleAdmin); status != http.StatusOK || body != `{"resent":1}` {
		t.Errorf("resend: %d %s", status, body)
	}
	testkit.Eventually(t, time.Minute, "it is given up again", listed(ids))
	if status, body := call(t, http.MethodGet, url, ""); status != http.StatusForbidden {
		t.Errorf("a buyer lists dead letters: %d %s", status, body)
	}
}

// subscribe receives what inventory would.
func subscribe(t *testing.T, namesrv, namespace string) *inbox {
	t.Helper()
	bus, err := mq.Open(mq.Config{
		Namesrv: []string{namesrv}, Namespace: namespace, Instance: namespace + "-test", Topics: events.Topics(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	in := &inbox{got: map[string][]string{}}
	bus.Subscribe(mq.Subscription{Group: "test-release", Topic: orderapi.TopicStockRelease, Handler: in.handle})
	bus.Subscribe(mq.Subscription{Group: "test-events", Topic: orderapi.TopicOrderEvents, Ordered: true, Handler: in.handle})
	if err := bus.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = bus.Close(ctx)
	})
	return in
}

func placeOn(t *testing.T, addr, key string, want int) (orderNo string) {
	t.Helper()
	status, body := placeKey(t, addr, key)
	var o orderapi.Order
	if err := json.Unmarshal([]byte(body), &o); err != nil || status != want {
		t.Fatalf("order %s: %d %s, error %v; want %d", key, status, body, err, want)
	}
	return o.OrderNo
}

func is(t *testing.T, addr, orderNo, status string) error {
	t.Helper()
	if got := get(t, "http://"+addr+"/v1/orders/"+orderNo); !strings.Contains(got, `"status":"`+status+`"`) {
		return fmt.Errorf("it is %s", got)
	}
	return nil
}
