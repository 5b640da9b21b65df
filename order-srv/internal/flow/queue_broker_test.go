package flow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/mq"
	"holdfast/pkg/mq/devbroker"
	"holdfast/sql"
)

// brokerWorld is a queueWorld on a broker, which delivers the messages to the replicas that run.
type brokerWorld struct {
	*queueWorld
	broker *devbroker.Broker
	ports  []int
}

func newBrokerWorld(t *testing.T, replicas int, edit ...func(*app.Config)) *brokerWorld {
	t.Helper()
	broker, err := devbroker.Start(devbroker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	ports, err := stack.FreePorts(2 * replicas)
	if err != nil {
		t.Fatal(err)
	}
	w := &brokerWorld{queueWorld: &queueWorld{}, broker: broker, ports: ports}
	edit = append([]func(*app.Config){ordertest.Timeout(2 * time.Second), w.use, func(cfg *app.Config) {
		cfg.OrderFlow, cfg.NamesrvAddrs, cfg.Producer, cfg.TxProducer = "queue", []string{broker.Addr()}, nil, nil
		cfg.PendingGrace, cfg.SweepAfter, cfg.ReconcileAfter = 3*time.Second, 4*time.Second, 20*time.Second
		cfg.HTTPAddr, cfg.OpsAddr = w.addr(), w.addr()
	}}, edit...)
	w.world = &world{ordertest.NewWorldOn(t, dbtest.NewDSN(t, sql.Orders()), nil, edit...), t}
	return w
}

func (w *brokerWorld) addr() string {
	port := w.ports[0]
	w.ports = w.ports[1:]
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// start runs a replica until stop is called, which the end of the test does as well.
func (w *brokerWorld) start(a *app.App) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.Run(ctx); err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
	stop = func() {
		cancel()
		running.Wait()
	}
	w.t.Cleanup(stop)
	return stop
}

// wait returns when all orders are decided.
func (w *brokerWorld) wait() {
	w.t.Helper()
	testkit.Eventually(w.t, 60*time.Second, "all orders are decided", func() error {
		if n := w.waiting(); n > 0 {
			return fmt.Errorf("%d orders are in the queue", n)
		}
		return nil
	})
}

// TestQueue_broker has buyers order at two replicas, some of them twice with one key, one at each replica. Inventory
// has units for some of them. One replica stops while the queue is full of work.
func TestQueue_broker(t *testing.T) {
	t.Parallel()
	w := newBrokerWorld(t, 2)
	const buyers, units = 60, 25
	var mu sync.Mutex
	sold := map[string]bool{}
	w.Inventory.Choose(func(o inventoryapi.ReserveOrder) ordertest.Answer {
		mu.Lock()
		defer mu.Unlock()
		if !sold[o.OrderNo] && len(sold) == units {
			return ordertest.Refuse(inventoryapi.ErrOutOfStock)
		}
		sold[o.OrderNo] = true
		return ordertest.OK
	})
	other := w.Replica()
	w.start(w.App)
	stopOther := w.start(other)
	var ordering sync.WaitGroup
	for i := range buyers {
		for n, a := range []*app.App{w.App, other} {
			if n == 1 && i%2 == 1 {
				continue
			}
			ordering.Go(func() {
				r := orderapi.PlaceRequest{IdempotencyKey: fmt.Sprint(i), Items: []orderapi.PlaceItem{{SKU: "A", Quantity: 1}}}
				testkit.EventuallyTrue(t, 20*time.Second, "the order is taken", func() bool {
					reply, err := a.Intake.Place(t.Context(), "ann", r)
					return err == nil && reply.OrderNo != ""
				})
			})
		}
	}
	ordering.Wait()
	stopOther()
	w.wait()
	counts := map[order.Status]int{}
	all, err := w.Orders.After(t.Context(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o.Reason != "broker_unavailable" { // before the broker was connected
			counts[o.Status]++
		}
	}
	if counts[order.Placed] != units || counts[order.Rejected] != buyers-units {
		t.Errorf("orders by status %v; want %d PLACED and %d REJECTED", counts, units, buyers-units)
	}
}

// TestQueue_workerHangs has the worker of one replica stop in the middle, as a process that is killed does, after it
// reserved. The sweeper sends its orders again until a living worker gets them, and each is placed.
func TestQueue_workerHangs(t *testing.T) {
	t.Parallel()
	dead := make(chan struct{})
	var w *brokerWorld
	var stuck atomic.Int64
	replicas := 0
	w = newBrokerWorld(t, 2, func(cfg *app.Config) {
		if replicas++; replicas == 1 {
			return
		}
		i := slices.IndexFunc(cfg.Flows, func(k flow.Kind) bool { return k.Name == "queue" })
		cfg.Flows[i].New = func(d flow.Deps) flow.Flow {
			return &hangs{Queue: flow.NewQueue(d), inventory: w.Inventory, dead: dead, stuck: &stuck}
		}
	})
	w.start(w.Replica())
	w.start(w.App)
	t.Cleanup(func() { close(dead) }) // before the replicas are stopped
	const orders = 12
	placed := 0
	testkit.Eventually(t, 60*time.Second, "orders are taken, and a worker hangs with some", func() error {
		for ; placed < orders; placed++ {
			if _, err := w.Place(fmt.Sprint(placed)); err != nil {
				return err
			}
		}
		if stuck.Load() == 0 {
			return errors.New("none hangs")
		}
		return nil
	})
	w.wait()
	for i := range orders {
		w.MustPlace(fmt.Sprint(i), http.StatusCreated)
	}
}

// hangs is a queue whose worker reserves and then does nothing any more.
type hangs struct {
	*flow.Queue
	inventory *ordertest.Inventory
	dead      chan struct{}
	stuck     *atomic.Int64 // messages
}

// Subscriptions implements flow.Flow.
func (h *hangs) Subscriptions() []mq.Subscription {
	s := h.Queue.Subscriptions()
	s[0].Handler = func(_ context.Context, m mq.Message) error {
		var body orderapi.OrderQueued
		if err := json.Unmarshal(m.Body, &body); err != nil {
			return err
		}
		for _, no := range body.Orders {
			h.inventory.Set(no, inventoryapi.StateReserved)
		}
		h.stuck.Add(1)
		<-h.dead
		return errors.New("killed")
	}
	return s
}

// TestQueue_brokerFaults has the broker lose some messages and deliver others twice. Each order is decided, and placed
// once.
func TestQueue_brokerFaults(t *testing.T) {
	t.Parallel()
	w := newBrokerWorld(t, 1)
	w.start(w.App)
	const orders = 20
	var ordering sync.WaitGroup
	for i := range orders {
		if i == 1 { // the first order has shown that the broker is connected
			w.broker.Drop(orderapi.TopicOrderQueued, 2)
			w.broker.Duplicate(orderapi.TopicOrderQueued, 2)
		}
		place := func() {
			testkit.EventuallyTrue(t, 20*time.Second, "the order is taken", func() bool {
				reply, err := w.Place(fmt.Sprint(i))
				return err == nil && reply.OrderNo != ""
			})
		}
		if i == 0 {
			place()
			continue
		}
		ordering.Go(place)
	}
	ordering.Wait()
	w.wait()
	for i := range orders {
		w.MustPlace(fmt.Sprint(i), http.StatusCreated)
	}
	if got := gauge(t, w.App, "order_queue_resent_total"); got == 0 {
		t.Error("no order was sent again")
	}
}
