package flow_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/admit"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
	"holdfast/sql"
)

// queueWorld is a world that places orders through the queue. Its test delivers the messages.
type queueWorld struct {
	*world
	queues    []*flow.Queue // of the replicas
	delivered int           // messages
}

func newQueueWorld(t *testing.T, answers []ordertest.Answer, edit ...func(*app.Config)) *queueWorld {
	t.Helper()
	return newQueueWorldOn(t, dbtest.NewDSN(t, sql.Orders()), "queue", answers, edit...)
}

// newQueueWorldOn is a queueWorld on a migrated database in which orders that name no flow get this one.
func newQueueWorldOn(t *testing.T, dsn, current string, answers []ordertest.Answer, edit ...func(*app.Config)) *queueWorld {
	t.Helper()
	w := &queueWorld{}
	edit = append([]func(*app.Config){ordertest.Timeout(ordertest.RequestTimeout), w.use, func(cfg *app.Config) { cfg.OrderFlow = current }}, edit...)
	w.world = &world{ordertest.NewWorldOn(t, dsn, answers, edit...), t}
	return w
}

// use keeps the queues of the replicas.
func (w *queueWorld) use(cfg *app.Config) {
	for _, k := range flow.List() {
		if k.Name == "queue" {
			k.New = func(d flow.Deps) flow.Flow {
				w.queues = append(w.queues, flow.NewQueue(d))
				return w.queues[len(w.queues)-1]
			}
		}
		cfg.Flows = append(cfg.Flows, k)
	}
}

// next returns the messages that were sent since the last call.
func (w *queueWorld) next() []mq.Message {
	w.t.Helper()
	var queued []mq.Message
	for _, m := range w.Broker.Sent() {
		if m.Topic == orderapi.TopicOrderQueued {
			queued = append(queued, m)
		}
	}
	fresh := queued[w.delivered:]
	w.delivered = len(queued)
	return fresh
}

// deliver delivers a message to a replica.
func (w *queueWorld) deliver(q *flow.Queue, m mq.Message) error {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	return q.Subscriptions()[0].Handler(ctx, m)
}

// deliverNext delivers the only message that was sent since the last one.
func (w *queueWorld) deliverNext() error {
	w.t.Helper()
	fresh := w.next()
	if len(fresh) != 1 {
		w.t.Fatalf("%d messages were sent, want 1", len(fresh))
	}
	return w.deliver(w.queues[0], fresh[0])
}

// waiting returns how many orders the queue has.
func (w *queueWorld) waiting() int {
	w.t.Helper()
	n, _, err := w.Orders.QueueState(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// wantStatus fails the test unless the order has the status and is in the queue while it is PENDING.
func (w *queueWorld) wantStatus(orderNo string, want order.Status) {
	w.t.Helper()
	if got := w.Get(orderNo).Status; got != want {
		w.t.Errorf("order is %s, want %s", got, want)
	}
	if got, want := w.waiting() > 0, want == order.Pending; got != want {
		w.t.Errorf("the order is in the queue: %v, want %v", got, want)
	}
}

// outcome is what the row of an order says of its end.
type outcome struct {
	Status         order.Status
	Reason         string
	ResponseStatus int
	Freed, Settled bool
}

// TestQueue_refusals: an order that inventory refuses ends as one of tx-message does, and a repeat of the request gets
// the same answer.
func TestQueue_refusals(t *testing.T) {
	t.Parallel()
	w := newQueueWorld(t, nil)
	end := func(flowName, key string) (outcome, string) {
		t.Helper()
		r := ordertest.Request(key)
		r.Flow = flowName
		first, err := w.Intake.Place(t.Context(), "ann", r)
		if flowName == "queue" {
			if err != nil || first.Status != http.StatusAccepted {
				t.Fatalf("reply %d %s, error %v; want 202", first.Status, first.Body, err)
			}
			if err := w.deliverNext(); err != nil {
				t.Error(err)
			}
		}
		all, err := w.Orders.After(t.Context(), "", 100)
		if err != nil {
			t.Fatal(err)
		}
		o := all[len(all)-1]
		code := ""
		if o.IdempotencyKey != "" { // else the repeat would place a new order
			again, err := w.Intake.Place(t.Context(), "ann", r)
			code = fmt.Sprint(again.Status, ordertest.Problem(again), err)
		}
		return outcome{o.Status, o.Reason, o.ResponseStatus, o.FreedKey != "", !o.SettledAt.IsZero()}, code
	}
	for name, answer := range map[string]ordertest.Answer{
		"out of stock":     ordertest.Refuse(inventoryapi.ErrOutOfStock),
		"unknown SKU":      ordertest.Refuse(inventoryapi.ErrUnknownSKU),
		"invalid lines":    ordertest.Refuse(inventoryapi.ErrInvalidLines),
		"unknown strategy": ordertest.Refuse(fault.New(fault.Invalid, "unknown_strategy", "")),
		"mismatch":         ordertest.Refuse(inventoryapi.ErrMismatch),
		"closed":           ordertest.Refuse(inventoryapi.ErrClosed),
		"wrong layout":     ordertest.Refuse(fault.New(fault.Conflict, "wrong_layout", "")),
	} {
		w.Inventory.Answer(answer)
		want, wantCode := end("tx-message", "tx "+name)
		got, code := end("queue", "q "+name)
		if diff := cmp.Diff(want, got); diff != "" || code != wantCode || got.Status != order.Rejected {
			t.Errorf("%s: repeat %s, want %s (-tx-message +queue):\n%s", name, code, wantCode, diff)
		}
	}
	if n := w.waiting(); n != 0 {
		t.Errorf("%d orders are in the queue", n)
	}
}

// TestQueue_requestIDs: the refusals of a group's orders each name the request of their order, although one message
// brings all of them to the worker.
func TestQueue_requestIDs(t *testing.T) {
	t.Parallel()
	w := newQueueWorld(t, []ordertest.Answer{ordertest.Refuse(inventoryapi.ErrOutOfStock)})
	orders := twoOf(t, w.World, "queue")
	var group []*flow.Member
	for _, o := range orders {
		group = append(group, flow.NewMember(o, flow.Caller{Deadline: time.Now().Add(10 * time.Second)}, nil))
	}
	w.queues[0].Place(t.Context(), group)
	w.Inventory.Answer(ordertest.Refuse(inventoryapi.ErrOutOfStock))
	if err := w.deliverNext(); err != nil {
		t.Fatal(err)
	}
	wantOwnIDs(t, w.World, orders)
}

// TestQueue_later: what a later attempt may decide stays in the queue, and the message comes again. Delivered once more
// after that, it does nothing.
func TestQueue_later(t *testing.T) {
	t.Parallel()
	w := newQueueWorld(t, nil)
	for name, tt := range map[string]struct {
		answer   ordertest.Answer
		attempts int // at most, of the first delivery; 0: any number
	}{
		"answer lost":  {ordertest.Lost, 0},
		"nothing done": {ordertest.Dropped, 0},
		"contended":    {ordertest.Refuse(inventoryapi.ErrContended), 0},
		"overloaded":   {ordertest.Refuse(admit.ErrOverloaded), 1},
	} {
		w.Inventory.Answer(tt.answer)
		begun := w.Inventory.Attempts()
		no := w.mustQueue(name)
		message := w.next()[0]
		if err := w.deliver(w.queues[0], message); err == nil || mq.IsDiscard(err) {
			t.Errorf("%s: error %v; want one that has the message come again", name, err)
		}
		w.wantStatus(no, order.Pending)
		if got := w.Inventory.Attempts() - begun; got == 0 || tt.attempts > 0 && got > tt.attempts {
			t.Errorf("%s: %d attempts to reserve", name, got)
		}
		w.Inventory.Answer(ordertest.OK)
		begun = w.Inventory.Attempts()
		for range 2 {
			if err := w.deliver(w.queues[0], message); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.wantStatus(no, order.Placed)
		if got := w.Inventory.Attempts() - begun; got != 1 {
			t.Errorf("%s: %d attempts to reserve, want 1", name, got)
		}
	}
}

// mustQueue places an order through the queue and returns its number.
func (w *queueWorld) mustQueue(key string) string {
	w.t.Helper()
	return w.MustPlace(fmt.Sprintf("%x", key), http.StatusAccepted).OrderNo
}

// TestQueue_slowStock has a worker receive more orders than the stock takes in the worker's time. It decides what it
// can and passes the others on in a new message, which comes at once: that of the broker would come after a pause.
func TestQueue_slowStock(t *testing.T) {
	t.Parallel()
	const n, each = 12, 500 * time.Millisecond
	w := newQueueWorld(t, []ordertest.Answer{ordertest.Then(func(string) { time.Sleep(each) }, ordertest.OK)})
	w.queues[0].Pace.Note(64, time.Minute) // one order at a time
	var all []order.Order
	for i := range n {
		all = append(all, order.Order{
			UserID: "ann", IdempotencyKey: fmt.Sprint(i), RequestHash: ordertest.RequestHash, Flow: "queue", RequestID: fmt.Sprint("request-", i),
			Items: []order.Item{{SKU: "A", Quantity: 1}},
		})
	}
	inserted, err := w.Orders.Insert(t.Context(), all, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var group []*flow.Member
	for _, i := range inserted {
		group = append(group, flow.NewMember(i.Order, flow.Caller{Deadline: time.Now().Add(20 * time.Second)}, nil))
	}
	w.queues[0].Place(t.Context(), group)
	messages := w.next()
	for deliveries := 0; len(messages) > 0; deliveries++ {
		if deliveries > 3*n {
			t.Fatalf("%d orders wait after %d deliveries", w.waiting(), deliveries)
		}
		m := messages[0]
		messages = messages[1:]
		if err := w.deliver(w.queues[0], m); err != nil {
			messages = append(messages, m) // a busy machine cut the last attempt; the broker delivers it again, later
		}
		fresh := w.next()
		if deliveries == 0 && len(fresh) == 0 {
			t.Fatalf("%d orders wait, and the worker has passed none on", w.waiting())
		}
		messages = append(messages, fresh...)
	}
	w.wantEnds(map[order.Status]int{order.Placed: n})
}

// TestQueue_badMessages: a message that cannot be read is a dead letter, and one about other orders does nothing.
func TestQueue_badMessages(t *testing.T) {
	t.Parallel()
	w := newQueueWorld(t, nil)
	other := ordertest.Request("other")
	other.Flow = "tx-message"
	w.Inventory.Answer(ordertest.Dropped)
	pending, err := w.Intake.Place(t.Context(), "ann", other)
	if err != nil || pending.Status != http.StatusAccepted {
		t.Fatalf("reply %d, error %v", pending.Status, err)
	}
	begun := w.Inventory.Attempts()
	for body, discarded := range map[string]bool{
		`{"orders":`: true, `{"orders":[]}`: true, `{}`: true, `{"orders":["NOPE"]}`: false, `{"orders":["` + pending.OrderNo + `"]}`: false,
	} {
		if err := w.deliver(w.queues[0], mq.Message{Body: []byte(body)}); mq.IsDiscard(err) != discarded || !discarded && err != nil {
			t.Errorf("%s: error %v, want a dead letter: %v", body, err, discarded)
		}
	}
	if got := w.Inventory.Attempts(); got != begun {
		t.Errorf("%d attempts to reserve", got-begun)
	}
}

// TestQueue_Place_brokerDown expects a clear refusal in time, a free key and an empty queue. Inventory is asked to
// release the order: the broker may have the message.
func TestQueue_Place_brokerDown(t *testing.T) {
	t.Parallel()
	w := newQueueWorld(t, nil)
	for name, hang := range map[string]bool{"refuses": false, "hangs": true} {
		w.Broker.SetDown(true, hang)
		begin := time.Now()
		if _, err := w.Place(name); !errors.Is(err, order.ErrBrokerUnavailable) || fault.Ambiguous(err) {
			t.Errorf("%s: error %v, want broker_unavailable", name, err)
		}
		if took := time.Since(begin); took > ordertest.RequestTimeout {
			t.Errorf("%s: the answer took %v of %v", name, took, ordertest.RequestTimeout)
		}
		w.Broker.SetDown(false, false)
		w.MustPlace(name, http.StatusAccepted)
		if err := w.deliverNext(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.wantEnds(map[order.Status]int{order.Rejected: 2, order.Placed: 2})
	if diff := cmp.Diff([]string{"release-rejected", "timeout", "release-rejected", "timeout"}, w.Events()); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
}

// wantEnds counts the orders by status, and expects an empty queue unless some are PENDING.
func (w *queueWorld) wantEnds(want map[order.Status]int) {
	w.t.Helper()
	all, err := w.Orders.After(w.t.Context(), "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	got := map[order.Status]int{}
	for _, o := range all {
		got[o.Status]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("orders by status (-want +got):\n%s", diff)
	}
	if n := w.waiting(); n != want[order.Pending] {
		w.t.Errorf("%d orders are in the queue, %d are PENDING", n, want[order.Pending])
	}
}

// TestQueue_Recover loses messages. The sweeper sends them again, once for a while, and abandons what is too old.
// Messages that come after that reserve nothing.
func TestQueue_Recover(t *testing.T) {
	t.Parallel()
	w := newQueueWorld(t, nil)
	young, stale, old := w.mustQueue("young"), w.mustQueue("stale"), w.mustQueue("old")
	w.next() // lost
	stale, old = w.Backdate(stale, 40*time.Second), w.Backdate(old, 61*time.Second)
	late := mq.Message{Body: []byte(`{"orders":["` + old + `"]}`)}
	if err := w.deliver(w.queues[0], late); err != nil {
		t.Error(err)
	}
	w.wantStatus(old, order.Pending) // it is the sweeper's

	w.Broker.SetDown(true, true)
	w.sweep()
	w.Broker.SetDown(false, false)
	w.wantEnds(map[order.Status]int{order.Pending: 2, order.Abandoned: 1}) // the broker does not matter for that
	w.sweep()
	w.sweep() // it was sent a moment ago
	fresh := w.next()
	if want := `{"orders":["` + stale + `"]}`; len(fresh) != 1 || string(fresh[0].Body) != want {
		t.Fatalf("sent again: %v, want %s", fresh, want)
	}
	for _, m := range []mq.Message{fresh[0], late} {
		if err := w.deliver(w.queues[0], m); err != nil {
			t.Error(err)
		}
	}
	if got := w.Inventory.Attempts(); got != 1 {
		t.Errorf("%d attempts to reserve, want that of the order that was sent again", got)
	}
	for no, want := range map[string]order.Status{young: order.Pending, stale: order.Placed, old: order.Abandoned} {
		if got := w.Get(no).Status; got != want {
			t.Errorf("order %s is %s, want %s", no, got, want)
		}
	}
	if o := w.Get(stale); !o.ExpiresAt.Equal(o.UpdatedAt.Add(time.Hour)) {
		t.Errorf("placed at %v, to be paid until %v; want an hour", o.UpdatedAt, o.ExpiresAt)
	}
	if diff := cmp.Diff([]string{"release-abandoned", "timeout"}, w.Events()); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
}

func (w *queueWorld) sweep() {
	w.t.Helper()
	if err := w.Healer.Sweep(w.t.Context()); err != nil {
		w.t.Errorf("sweep: %v", err)
	}
}

// TestQueue_workerDied has a worker die after it reserved. The order that is sent again keeps its units; the one that
// is too old gives them back.
func TestQueue_workerDied(t *testing.T) {
	t.Parallel()
	w := newQueueWorld(t, nil)
	died := func(key string, age time.Duration) string {
		no := w.mustQueue(key)
		w.next() // the worker got it
		no = w.Backdate(no, age)
		w.Inventory.Set(no, inventoryapi.StateReserved)
		return no
	}
	kept, back := died("kept", 40*time.Second), died("back", 2*time.Minute)
	w.sweep()
	if err := w.deliverNext(); err != nil {
		t.Error(err)
	}
	if got := w.Get(kept).Status; got != order.Placed {
		t.Errorf("the order that was sent again is %s", got)
	}
	if got := w.Get(back).Status; got != order.Abandoned {
		t.Errorf("the old order is %s", got)
	}
	if diff := cmp.Diff([]string{"release-abandoned", "timeout"}, w.Events()); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
}

// TestQueue_sweptMeanwhile abandons an order while a worker reserves its units. They are given back.
func TestQueue_sweptMeanwhile(t *testing.T) {
	t.Parallel()
	var w *queueWorld
	w = newQueueWorld(t, []ordertest.Answer{ordertest.Then(func(orderNo string) { w.Abandon(orderNo) }, ordertest.OK)})
	no := w.mustQueue("k")
	if err := w.deliverNext(); err != nil {
		t.Error(err)
	}
	w.wantStatus(no, order.Abandoned)
	if diff := cmp.Diff([]string{"release-late"}, w.Events()); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
}

// TestQueue_replicas delivers each message to two replicas at the same time. Each order is placed once, and both have
// done with it.
func TestQueue_replicas(t *testing.T) {
	t.Parallel()
	w := newQueueWorld(t, nil)
	w.Replica()
	const orders = 10
	for i := range orders {
		w.mustQueue(fmt.Sprint(i))
	}
	var running sync.WaitGroup
	for _, m := range w.next() {
		for _, q := range w.queues {
			running.Go(func() {
				if err := w.deliver(q, m); err != nil {
					t.Error(err)
				}
			})
		}
	}
	running.Wait()
	w.wantEnds(map[order.Status]int{order.Placed: orders})
	timeouts := w.Events()
	if len(timeouts) != orders {
		t.Errorf("outbox %v, want one timeout for each of %d orders", timeouts, orders)
	}
}

// TestQueue_Admit fills the queue. The next order is refused and nothing of it is written, until the workers have made
// room. Another replica, which took none of the orders, refuses as well.
func TestQueue_Admit(t *testing.T) {
	t.Parallel()
	w := newQueueWorld(t, nil, func(cfg *app.Config) { cfg.QueueMax = 2 })
	other := w.Replica()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, q := range w.queues {
		for _, work := range q.Workers() {
			running.Go(func() { work(ctx) })
		}
	}
	defer running.Wait()
	defer cancel()
	w.mustQueue("a")
	w.mustQueue("b")
	messages := w.next()
	refused := func(a *app.App) error {
		if reply, err := a.Intake.Place(t.Context(), "ann", ordertest.Request("probe")); !errors.Is(err, admit.ErrOverloaded) || fault.Ambiguous(err) {
			return fmt.Errorf("reply %d %s, error %w; want overloaded", reply.Status, reply.Body, err)
		}
		return nil
	}
	for i, a := range []*app.App{w.App, other} {
		// Not by placing: until the depth is read an order is admitted.
		testkit.EventuallyTrue(t, 10*time.Second, "the queue is full", func() bool { return admits(w.queues[i]) != nil })
		if err := refused(a); err != nil {
			t.Errorf("replica %d: %v", i, err)
		}
	}
	w.mustQueue("a") // a repeat
	w.wantEnds(map[order.Status]int{order.Pending: 2})
	for _, m := range messages {
		if err := w.deliver(w.queues[0], m); err != nil {
			t.Error(err)
		}
	}
	testkit.Eventually(t, 10*time.Second, "the queue has room", func() error { return admits(w.queues[0]) })
	w.MustPlace("probe", http.StatusAccepted)
	if got := gauge(t, w.App, "order_queue_drained_total"); got != 2 {
		t.Errorf("%v orders drained, want 2", got)
	}
	testkit.Eventually(t, 10*time.Second, "the depth is measured", func() error {
		if depth, age := gauge(t, other, "order_queue_depth"), gauge(t, other, "order_queue_oldest_seconds"); depth != 1 || age <= 0 {
			return fmt.Errorf("depth %v, age %v; want 1 and more than 0", depth, age)
		}
		return nil
	})
}

// admits returns why the queue does not let an order in. It takes no place.
func admits(q *flow.Queue) error {
	settle, err := q.Admit()
	if err == nil {
		settle(false)
	}
	return err
}

// TestQueue_Admit_uncounted has many buyers order at the same time before the depth is read for the first time. The
// queue takes as many as it has room for, although none of them can be counted yet.
func TestQueue_Admit_uncounted(t *testing.T) {
	t.Parallel()
	const room, buyers = 5, 60
	w := newQueueWorld(t, nil, func(cfg *app.Config) { cfg.QueueMax = room })
	var mu sync.Mutex
	var taken []string // keys
	refused := 0
	var buying sync.WaitGroup
	for i := range buyers {
		buying.Go(func() {
			key := fmt.Sprint("k", i)
			reply, err := w.Intake.Place(t.Context(), "ann", ordertest.Request(key))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && reply.Status == http.StatusAccepted:
				taken = append(taken, key)
			case errors.Is(err, admit.ErrOverloaded):
				refused++
			default:
				t.Errorf("reply %d %s, error %v", reply.Status, reply.Body, err)
			}
		})
	}
	buying.Wait()
	if len(taken) != room || refused != buyers-room || w.waiting() != room {
		t.Errorf("%d taken, %d refused, %d in the table; want %d, %d and %d", len(taken), refused, w.waiting(), room, buyers-room, room)
	}
	if got := gauge(t, w.App, "order_queue_entering"); got != room {
		t.Errorf("order_queue_entering is %v, want %d", got, room)
	}
	w.MustPlace(taken[0], http.StatusAccepted) // a repeat

	// One reading contains all of them.
	ctx, cancel := context.WithCancel(t.Context())
	var measuring sync.WaitGroup
	measuring.Go(func() { w.queues[0].Workers()[0](ctx) })
	defer measuring.Wait()
	defer cancel()
	testkit.Eventually(t, 10*time.Second, "the depth is read", func() error {
		if depth, since := gauge(t, w.App, "order_queue_depth"), gauge(t, w.App, "order_queue_entering"); depth != room || since != 0 {
			return fmt.Errorf("depth %v, entering %v; want %d and 0", depth, since, room)
		}
		return nil
	})
	if admits(w.queues[0]) == nil {
		t.Error("the queue is full and lets an order in")
	}
}

// TestQueue_Admit_returned: a place is free again when its order is not inserted, as the key is known or the caller has
// left before.
func TestQueue_Admit_returned(t *testing.T) {
	t.Parallel()
	w := newQueueWorld(t, nil, func(cfg *app.Config) { cfg.QueueMax = 2 })
	w.MustPlace("a", http.StatusAccepted)
	w.MustPlace("a", http.StatusAccepted) // a repeat: it is let in, and found when it is inserted
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Intake.Place(gone, "ann", ordertest.Request("gone")); err == nil {
		t.Error("an order whose caller has left was taken")
	}
	w.MustPlace("b", http.StatusAccepted)
	if _, err := w.Intake.Place(t.Context(), "ann", ordertest.Request("c")); !errors.Is(err, admit.ErrOverloaded) {
		t.Errorf("error %v, want overloaded", err)
	}
}

// gauge returns the value of a metric without labels.
func gauge(t *testing.T, a *app.App, name string) float64 {
	t.Helper()
	families, err := a.Metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// TestQueue_changed restarts order-srv from queue to tx-message while orders are in flight. Each ends by the rules of
// the flow that took it.
func TestQueue_changed(t *testing.T) {
	t.Parallel()
	dsn := dbtest.NewDSN(t, sql.Orders())
	before := newQueueWorldOn(t, dsn, "queue", nil)
	queued, lost, old := before.mustQueue("queued"), before.mustQueue("lost"), before.mustQueue("old")
	messages := before.next()

	w := newQueueWorldOn(t, dsn, "tx-message", nil)
	w.MustPlace("new", http.StatusCreated) // by tx-message
	if err := w.deliver(w.queues[0], messages[0]); err != nil {
		t.Error(err)
	}
	if again := w.MustPlace(fmt.Sprintf("%x", "queued"), http.StatusCreated); again.OrderNo != queued {
		t.Errorf("the repeat is about %s, want %s", again.OrderNo, queued)
	}
	lost, old = w.Backdate(lost, 40*time.Second), w.Backdate(old, 2*time.Minute)
	w.sweep()
	if err := w.deliverNext(); err != nil {
		t.Error(err)
	}
	for no, want := range map[string]order.Status{queued: order.Placed, lost: order.Placed, old: order.Abandoned} {
		if o := w.Get(no); o.Status != want || o.Flow != "queue" {
			t.Errorf("order %s of the flow %s is %s, want %s", no, o.Flow, o.Status, want)
		}
	}
	w.wantEnds(map[order.Status]int{order.Placed: 3, order.Abandoned: 1})
}
