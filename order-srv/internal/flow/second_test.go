package flow_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/mq"
	"holdfast/pkg/mq/devbroker"
	"holdfast/pkg/outbox"
	"holdfast/sql"
)

// later is a second flow: a message that is written with the order has a worker decide it after the answer. It is what
// a flow has to write: this type, and the line in [withLater].
type later struct {
	flow.Base
	flow.Deps
	due chan order.Order

	mu        sync.Mutex
	recovered []string
}

const topicLater = "order-later"

var _ flow.Flow = (*later)(nil)

// Begin implements flow.Flow.
func (l *later) Begin(tx *store.Tx, orders []order.Order) error {
	for _, o := range orders {
		if err := tx.Send(outbox.Event{ID: o.OrderNo + ":later", Topic: topicLater, Key: o.OrderNo, Body: o}); err != nil {
			return err
		}
	}
	return nil
}

// Place implements flow.Flow. All orders stay PENDING for now.
func (l *later) Place(context.Context, []*flow.Member) {}

// Ended implements flow.Flow.
func (l *later) Ended(tx *store.Tx, o order.Order) error {
	return tx.Send(outbox.Event{ID: o.OrderNo + ":later-" + string(o.Status), Topic: topicLater, Key: o.OrderNo})
}

// Subscriptions implements flow.Flow.
func (l *later) Subscriptions() []mq.Subscription {
	return []mq.Subscription{{Group: topicLater, Topic: topicLater, Handler: func(_ context.Context, m mq.Message) error {
		var o order.Order
		if err := json.Unmarshal(m.Body, &o); err != nil || o.OrderNo == "" {
			return err
		}
		l.due <- o
		return nil
	}}}
}

// Workers implements flow.Flow.
func (l *later) Workers() []func(context.Context) {
	return []func(context.Context){func(ctx context.Context) {
		for {
			select {
			case <-ctx.Done():
				return
			case o := <-l.due:
				deciding, cancel := context.WithTimeout(ctx, ordertest.RequestTimeout)
				l.Resolve(deciding, []*flow.Member{flow.NewMember(o, flow.CallerOf(deciding), nil)})
				cancel()
			}
		}
	}}
}

// StalePending implements flow.Flow.
func (l *later) StalePending() time.Duration { return time.Hour }

// Recover implements flow.Flow.
func (l *later) Recover(ctx context.Context, orderNos []string) (int, error) {
	l.mu.Lock()
	l.recovered = append(l.recovered, orderNos...)
	l.mu.Unlock()
	return l.Upkeep.Abandon(ctx, orderNos, time.Hour, false, store.Sweeper)
}

// withLater adds the flow to the list and has it place new orders.
func withLater(l *later) func(*app.Config) {
	l.due = make(chan order.Order, 10)
	return func(cfg *app.Config) {
		cfg.OrderFlow = "later"
		cfg.Flows = append(flow.List(), flow.Kind{
			Name: "later", Topics: []mq.Topic{{Name: topicLater}}, New: func(d flow.Deps) flow.Flow { l.Deps = d; return l },
		})
	}
}

// run starts order-srv and stops it when the test ends.
func run(t *testing.T, a *app.App) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
}

// TestFlow_second places and pays an order through a flow that order-srv does not know, on a broker.
func TestFlow_second(t *testing.T) {
	t.Parallel()
	broker, err := devbroker.Start(devbroker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	ports, err := stack.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	l := &later{}
	w := ordertest.NewWorldOn(t, dbtest.NewDSN(t, sql.Orders()), nil, withLater(l), func(cfg *app.Config) {
		cfg.HTTPAddr, cfg.OpsAddr = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
		cfg.NamesrvAddrs, cfg.Producer, cfg.TxProducer = []string{broker.Addr()}, nil, nil
	})
	run(t, w.App)
	first := w.MustPlace("k", http.StatusAccepted)
	testkit.Eventually(t, 20*time.Second, "the worker places the order", func() error {
		if again, err := w.Place("k"); err != nil || again.Status != http.StatusCreated || again.OrderNo != first.OrderNo {
			return fmt.Errorf("reply %d %s, error %w", again.Status, again.Body, err)
		}
		return nil
	})
	if _, err := w.Orders.Pay(t.Context(), "ann", first.OrderNo); err != nil {
		t.Fatal(err)
	}
	if o := w.Get(first.OrderNo); o.Flow != "later" || o.Status != order.Paid {
		t.Errorf("order %+v", o)
	}
	if diff := cmp.Diff([]string{"later", "timeout", "PAID", "later-PAID"}, w.Events()); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
}

// TestFlow_changed changes ORDER_FLOW while orders are PENDING: each is recovered by the flow that placed it.
func TestFlow_changed(t *testing.T) {
	t.Parallel()
	dsn := dbtest.NewDSN(t, sql.Orders())
	lost := []ordertest.Answer{ordertest.Lost}
	before := ordertest.NewWorldOn(t, dsn, lost, ordertest.Timeout(ordertest.RequestTimeout))
	swept, checked := before.MustPlace("swept", http.StatusAccepted).OrderNo, before.MustPlace("checked", http.StatusAccepted).OrderNo
	l := &later{}
	w := ordertest.NewWorldOn(t, dsn, lost, ordertest.Timeout(ordertest.RequestTimeout), withLater(l))
	young, old := w.MustPlace("young", http.StatusAccepted).OrderNo, w.MustPlace("old", http.StatusAccepted).OrderNo
	w.Age(checked, 20*time.Second) // the check-back comes before the sweeper
	if got := w.CheckHalf(checked); got != mq.TxCommit {
		t.Errorf("the half message of an order of tx-message: %s, want commit", got)
	}
	swept, young, old = w.Backdate(swept, time.Minute), w.Backdate(young, 50*time.Minute), w.Backdate(old, 2*time.Hour)
	if err := w.Healer.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for no, want := range map[string]order.Status{
		swept: order.Abandoned, checked: order.Abandoned, old: order.Abandoned, young: order.Pending,
	} {
		if got := w.Get(no).Status; got != want {
			t.Errorf("order %s is %s, want %s", no, got, want)
		}
	}
	if diff := cmp.Diff([]string{old}, l.recovered); diff != "" {
		t.Errorf("recovered by the second flow (-want +got):\n%s", diff)
	}
	events := w.Events()
	slices.Sort(events)
	// The release is tx-message's.
	if diff := cmp.Diff([]string{"later", "later", "release-abandoned"}, events); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
}

// TestTxMessage_Place_group places orders together: one half message names them, and it is undecided while one of them
// is.
func TestTxMessage_Place_group(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var group []*flow.Member
	got := make([]flow.Result, 3)
	ctx, cancel := context.WithTimeout(t.Context(), ordertest.RequestTimeout)
	defer cancel()
	for i := range got {
		o := order.Order{
			OrderNo: fmt.Sprintf("%026d", i), GroupID: "0", UserID: "ann", IdempotencyKey: fmt.Sprint(i), RequestHash: ordertest.RequestHash, Status: order.Pending,
			Flow: "tx-message", Items: []order.Item{{SKU: "A", Quantity: 1}},
		}
		if _, inserted, err := ordertest.Insert(t.Context(), w.Orders, o); err != nil || !inserted {
			t.Fatal(inserted, err)
		}
		group = append(group, flow.NewMember(o, flow.CallerOf(ctx), func(r flow.Result) { got[i] = r }))
	}
	w.Inventory.Set(group[1].OrderNo, "released") // a closed reservation: its order is REJECTED
	flows, err := flow.NewSet(flow.List(), "tx-message")
	if err != nil {
		t.Fatal(err)
	}
	flows.Open(flow.Deps{
		Resolver: &flow.Resolver{Store: w.Orders, Inventory: w.Inventory, Pace: flow.NewPace(), Log: w.Log}, Upkeep: w.Orders, Tx: w.Broker,
	})
	_, f, err := flows.Choose("")
	if err != nil {
		t.Fatal(err)
	}
	f.Place(ctx, group)
	var statuses []order.Status
	for i, r := range got {
		if r.Err != nil || r.Order.OrderNo != group[i].OrderNo {
			t.Errorf("result %d: %+v", i, r)
		}
		statuses = append(statuses, r.Order.Status)
	}
	if diff := cmp.Diff([]order.Status{order.Placed, order.Rejected, order.Placed}, statuses); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if half := w.Half(); half != mq.TxRollback {
		t.Errorf("half message: %s, want rollback", half)
	}
	if diff := cmp.Diff([]string{"timeout"}, w.Events()); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
}
