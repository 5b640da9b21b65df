package intake_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/intake"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/sql"
)

// TestIntake_Place_keyOfAbandoned retries with the key of an order that was abandoned: a new order is placed, and a
// repeat of the retry gets its answer.
func TestIntake_Place_keyOfAbandoned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ordertest.Dropped)
	first := w.MustPlace("k", http.StatusAccepted)
	w.Abandon(first.OrderNo)
	w.Inventory.Answer(ordertest.OK)
	second := w.MustPlace("k", http.StatusCreated)
	if second.OrderNo == first.OrderNo {
		t.Errorf("the retry was answered with the abandoned order %s", first.OrderNo)
	}
	if again := w.MustPlace("k", http.StatusCreated); string(again.Body) != string(second.Body) {
		t.Errorf("repeat got\n%s\nthe retry got\n%s", again.Body, second.Body)
	}
}

// TestIntake_Place_keyKeptByAbandoned: a version before migration 0003 abandoned orders and kept their keys.
func TestIntake_Place_keyKeptByAbandoned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ordertest.Dropped)
	first := w.MustPlace("k", http.StatusAccepted)
	w.Abandon(first.OrderNo)
	if err := w.DB.Exec("UPDATE orders SET idempotency_key = 'k', freed_key = NULL WHERE order_no = ?", first.OrderNo).Error; err != nil {
		t.Fatal(err)
	}
	w.Inventory.Answer(ordertest.OK)
	w.MustPlace("k", http.StatusCreated)
	if got := w.Get(first.OrderNo); got.FreedKey != "k" {
		t.Errorf("the abandoned order says that it freed the key %q, want k", got.FreedKey)
	}
}

// TestIntake_Place_refusedForPredecessor has the first order of a key hold the last units, without an answer, until it
// is abandoned. A retry is refused for those units. As long as inventory has not settled the abandoned order, that
// answer is not stored, and a later retry may succeed.
func TestIntake_Place_refusedForPredecessor(t *testing.T) {
	t.Parallel()
	short := ordertest.Refuse(inventoryapi.ErrOutOfStock.With("short", []string{"A"}))
	for _, tt := range []struct {
		name    string
		settled func(w *world, orderNo string) ordertest.Answer // when inventory settles the abandoned order
		stored  bool
	}{
		{"never", func(*world, string) ordertest.Answer { return short }, false},
		{"while the retry is refused", func(w *world, orderNo string) ordertest.Answer {
			return ordertest.Then(func(string) { w.settle(orderNo) }, short)
		}, false},
		{"before the retry", func(w *world, orderNo string) ordertest.Answer { w.settle(orderNo); return short }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ordertest.Lost)
			first := w.MustPlace("k", http.StatusAccepted)
			w.Abandon(first.OrderNo)
			w.Inventory.Answer(tt.settled(w, first.OrderNo), ordertest.OK)
			second := w.MustPlace("k", http.StatusConflict)
			if got := ordertest.Problem(second); got != "out_of_stock" {
				t.Errorf("the retry was answered with %q, want out_of_stock", got)
			}
			o := w.Get(second.OrderNo)
			if o.Status != order.Rejected || (o.IdempotencyKey != "") != tt.stored || (o.ResponseStatus != 0) != tt.stored || o.SettledAt.IsZero() {
				t.Errorf("order %+v; want REJECTED and settled, its key kept and its answer stored: %v", o, tt.stored)
			}
			want := map[bool]int{true: http.StatusConflict, false: http.StatusCreated}[tt.stored]
			w.MustPlace("k", want)
		})
	}
}

func (w *world) settle(orderNo string) {
	if n, err := w.Orders.Settle(w.t.Context(), order.Abandoned, []string{orderNo}); n != 1 || err != nil {
		w.t.Errorf("settled %d, error %v", n, err)
	}
}

// TestIntake_Place_retriesAtOnce retries with the key of an abandoned order at two replicas, many times at once. One
// order is created; every retry is answered about it.
func TestIntake_Place_retriesAtOnce(t *testing.T) {
	t.Parallel()
	const retries = 12
	w := &world{ordertest.NewWorldOn(t, dbtest.NewDSN(t, sql.Orders()), []ordertest.Answer{ordertest.Dropped}, ordertest.Timeout(4*time.Second)), t}
	first := w.MustPlace("k", http.StatusAccepted)
	w.Abandon(first.OrderNo)
	w.Inventory.Answer(ordertest.OK)
	other := w.Replica().Intake
	var mu sync.Mutex
	numbers := map[string]int{}
	var wg sync.WaitGroup
	for i := range retries {
		wg.Go(func() {
			in := []*intake.Intake{w.Intake, other}[i%2]
			reply, err := in.Place(t.Context(), "ann", ordertest.Request("k"))
			if err != nil || reply.Status != http.StatusCreated && reply.Status != http.StatusAccepted {
				t.Errorf("reply %d %s, error %v", reply.Status, reply.Body, err)
			}
			mu.Lock()
			defer mu.Unlock()
			numbers[reply.OrderNo]++
		})
	}
	wg.Wait()
	all, err := w.Orders.After(t.Context(), "", 100)
	if err != nil || len(all) != 2 || len(numbers) != 1 {
		t.Errorf("%d orders, answers %v, error %v; want the abandoned one and one more", len(all), numbers, err)
	}
}

// TestIntake_Place_refusedForRejected: the retry itself may hold units when it is refused, as its first attempt had no
// answer. The next retry may be refused for those.
func TestIntake_Place_refusedForRejected(t *testing.T) {
	t.Parallel()
	short := ordertest.Refuse(inventoryapi.ErrOutOfStock.With("short", []string{"A"}))
	w := newWorld(t, ordertest.Dropped)
	first := w.MustPlace("k", http.StatusAccepted)
	w.Abandon(first.OrderNo)
	w.Inventory.Answer(ordertest.Lost, short)
	second := w.MustPlace("k", http.StatusConflict)
	w.settle(first.OrderNo)
	third := w.MustPlace("k", http.StatusConflict)
	if o := w.Get(third.OrderNo); third.OrderNo == second.OrderNo || o.ResponseStatus != 0 || o.IdempotencyKey != "" {
		t.Errorf("after %s the third order is %+v; want another one without a stored answer", second.OrderNo, o)
	}
	if diff := cmp.Diff([]string{"release-rejected"}, w.Events()); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
}
