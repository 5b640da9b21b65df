package flow_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/flow/flowtest"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/sql"
)

// abandon ends the PENDING order of a placed request, as a healer does.
func (w *world) abandon(orderNo string) {
	w.t.Helper()
	if n, err := w.store.Abandon(w.t.Context(), []string{orderNo}, 0, false, store.Sweeper); n != 1 || err != nil {
		w.t.Fatalf("abandoned %d, error %v", n, err)
	}
}

// mustPlace places an order and fails the test unless the answer has the status.
func (w *world) mustPlace(key string, status int) flow.Reply {
	w.t.Helper()
	reply, err := w.place(key)
	if err != nil || reply.Status != status {
		w.t.Fatalf("reply %d %s, error %v; want %d", reply.Status, reply.Body, err, status)
	}
	return reply
}

func (w *world) get(orderNo string) order.Order {
	w.t.Helper()
	o, err := w.store.Get(w.t.Context(), "ann", orderNo)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// TestDesk_Place_keyOfAbandoned retries with the key of an order that was abandoned: a new order is placed, and a repeat of
// the retry gets its answer.
func TestDesk_Place_keyOfAbandoned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, flowtest.Dropped)
	first := w.mustPlace("k", http.StatusAccepted)
	w.abandon(first.OrderNo)
	w.inventory.Answer(flowtest.OK)
	second := w.mustPlace("k", http.StatusCreated)
	if second.OrderNo == first.OrderNo {
		t.Errorf("the retry was answered with the abandoned order %s", first.OrderNo)
	}
	if again := w.mustPlace("k", http.StatusCreated); string(again.Body) != string(second.Body) {
		t.Errorf("repeat got\n%s\nthe retry got\n%s", again.Body, second.Body)
	}
}

// TestDesk_Place_keyKeptByAbandoned: a version before migration 0003 abandoned orders and kept their keys.
func TestDesk_Place_keyKeptByAbandoned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, flowtest.Dropped)
	first := w.mustPlace("k", http.StatusAccepted)
	w.abandon(first.OrderNo)
	if err := w.db.Exec("UPDATE orders SET idempotency_key = 'k', freed_key = NULL WHERE order_no = ?", first.OrderNo).Error; err != nil {
		t.Fatal(err)
	}
	w.inventory.Answer(flowtest.OK)
	w.mustPlace("k", http.StatusCreated)
	if got := w.get(first.OrderNo); got.FreedKey != "k" {
		t.Errorf("the abandoned order says that it freed the key %q, want k", got.FreedKey)
	}
}

// TestDesk_Place_refusedForPredecessor has the first order of a key hold the last units, without an answer, until it is
// abandoned. A retry is refused for those units. As long as inventory has not settled the abandoned order, that answer is
// not stored, and a later retry may succeed.
func TestDesk_Place_refusedForPredecessor(t *testing.T) {
	t.Parallel()
	short := flowtest.Refuse(inventoryapi.ErrOutOfStock.With("short", []string{"A"}))
	for _, tt := range []struct {
		name    string
		settled func(w *world, orderNo string) flowtest.Answer // when inventory settles the abandoned order
		stored  bool
	}{
		{"never", func(*world, string) flowtest.Answer { return short }, false},
		{"while the retry is refused", func(w *world, orderNo string) flowtest.Answer {
			return flowtest.Then(func(string) { w.settle(orderNo) }, short)
		}, false},
		{"before the retry", func(w *world, orderNo string) flowtest.Answer { w.settle(orderNo); return short }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, flowtest.Lost)
			first := w.mustPlace("k", http.StatusAccepted)
			w.abandon(first.OrderNo)
			w.inventory.Answer(tt.settled(w, first.OrderNo), flowtest.OK)
			second := w.mustPlace("k", http.StatusConflict)
			if got := codeOf(second.Body); got != "out_of_stock" {
				t.Errorf("the retry was answered with %q, want out_of_stock", got)
			}
			o := w.get(second.OrderNo)
			if o.Status != order.Rejected || (o.IdempotencyKey != "") != tt.stored || (o.ResponseStatus != 0) != tt.stored || o.SettledAt.IsZero() {
				t.Errorf("order %+v; want REJECTED and settled, its key kept and its answer stored: %v", o, tt.stored)
			}
			want := map[bool]int{true: http.StatusConflict, false: http.StatusCreated}[tt.stored]
			w.mustPlace("k", want)
		})
	}
}

func (w *world) settle(orderNo string) {
	if n, err := w.store.Settle(w.t.Context(), order.Abandoned, []string{orderNo}); n != 1 || err != nil {
		w.t.Errorf("settled %d, error %v", n, err)
	}
}

// TestDesk_Place_retriesAtOnce retries with the key of an abandoned order at two replicas, many times at once. One order is
// created; every retry is answered about it.
func TestDesk_Place_retriesAtOnce(t *testing.T) {
	t.Parallel()
	const retries = 12
	w := newWorldOn(t, dbtest.NewDSN(t, sql.Orders()), 4*time.Second, flowtest.Dropped)
	first := w.mustPlace("k", http.StatusAccepted)
	w.abandon(first.OrderNo)
	w.inventory.Answer(flowtest.OK)
	other := w.replica().Desk
	var mu sync.Mutex
	numbers := map[string]int{}
	var wg sync.WaitGroup
	for i := range retries {
		wg.Go(func() {
			desk := []*flow.Desk{w.desk, other}[i%2]
			reply, err := desk.Place(t.Context(), "ann", request("k"))
			if err != nil || reply.Status != http.StatusCreated && reply.Status != http.StatusAccepted {
				t.Errorf("reply %d %s, error %v", reply.Status, reply.Body, err)
			}
			mu.Lock()
			defer mu.Unlock()
			numbers[reply.OrderNo]++
		})
	}
	wg.Wait()
	all, err := w.store.After(t.Context(), "", 100)
	if err != nil || len(all) != 2 || len(numbers) != 1 {
		t.Errorf("%d orders, answers %v, error %v; want the abandoned one and one more", len(all), numbers, err)
	}
}

// TestDesk_Place_refusedForRejected: the retry itself may hold units when it is refused, as its first attempt had no answer.
// The next retry may be refused for those.
func TestDesk_Place_refusedForRejected(t *testing.T) {
	t.Parallel()
	short := flowtest.Refuse(inventoryapi.ErrOutOfStock.With("short", []string{"A"}))
	w := newWorld(t, flowtest.Dropped)
	first := w.mustPlace("k", http.StatusAccepted)
	w.abandon(first.OrderNo)
	w.inventory.Answer(flowtest.Lost, short)
	second := w.mustPlace("k", http.StatusConflict)
	w.settle(first.OrderNo)
	third := w.mustPlace("k", http.StatusConflict)
	if o := w.get(third.OrderNo); third.OrderNo == second.OrderNo || o.ResponseStatus != 0 || o.IdempotencyKey != "" {
		t.Errorf("after %s the third order is %+v; want another one without a stored answer", second.OrderNo, o)
	}
	if diff := cmp.Diff([]string{"release-rejected"}, w.events()); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
}
