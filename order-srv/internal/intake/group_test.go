package intake_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
	"holdfast/sql"
)

func newGroupWorld(t *testing.T) *world {
	t.Helper()
	return &world{ordertest.NewWorldOn(t, dbtest.NewDSN(t, sql.Orders()), nil, ordertest.OneGroup), t}
}

// buyersOf returns a buyer for each SKU, with a key of its own.
func buyersOf(skus ...string) []*ordertest.Buyer {
	buyers := make([]*ordertest.Buyer, len(skus))
	for i, sku := range skus {
		buyers[i] = &ordertest.Buyer{Request: orderapi.PlaceRequest{
			IdempotencyKey: fmt.Sprintf("key-%03d", i), Items: []orderapi.PlaceItem{{SKU: sku, Quantity: 1}},
		}}
	}
	return buyers
}

// bySKU answers each order by its SKU; OK without an answer.
func bySKU(answers map[string]ordertest.Answer) func(inventoryapi.ReserveOrder) ordertest.Answer {
	return func(o inventoryapi.ReserveOrder) ordertest.Answer {
		if a := answers[o.Lines[0].SKU]; a != nil {
			return a
		}
		return ordertest.OK
	}
}

// orderOf returns the order of a buyer's reply.
func (w *world) orderOf(b *ordertest.Buyer) order.Order {
	w.t.Helper()
	if b.Reply.OrderNo == "" {
		w.t.Fatalf("buyer %s has no order: reply %d, error %v", b.Request.IdempotencyKey, b.Reply.Status, b.Err)
	}
	return w.Get(b.Reply.OrderNo)
}

func (w *world) wantReply(b *ordertest.Buyer, status int) {
	w.t.Helper()
	if b.Err != nil || b.Reply.Status != status {
		w.t.Errorf("%s of %s: reply %d %s, error %v; want %d", b.Request.IdempotencyKey, b.Request.Items[0].SKU, b.Reply.Status, b.Reply.Body, b.Err, status)
	}
}

// TestIntake_Place_group places 500 orders together: one half message, one call, one order-timeout. Each buyer has the
// answer that the order's row has, and a repeat gets it byte by byte.
func TestIntake_Place_group(t *testing.T) {
	t.Parallel()
	const orders = flow.MaxGroup
	w := newGroupWorld(t)
	buyers := buyersOf(slices.Repeat([]string{"A"}, orders)...)
	w.Together(buyers, nil)
	if diff := cmp.Diff([]int{orders}, w.groupCalls()); diff != "" {
		t.Errorf("orders of each call (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"timeout", "timeout"}, w.Events()); diff != "" { // the first order's, and the group's
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
	var event struct{ Payload, ShardKey string }
	if err := w.DB.Raw("SELECT payload, shard_key FROM outbox ORDER BY id DESC LIMIT 1").Scan(&event).Error; err != nil {
		t.Fatal(err)
	}
	var timeout orderapi.OrderTimeout
	if err := json.Unmarshal([]byte(event.Payload), &timeout); err != nil || len(timeout.Orders) != orders {
		t.Errorf("order-timeout names %d orders, error %v", len(timeout.Orders), err)
	}
	expires := w.orderOf(buyers[0]).ExpiresAt
	for _, b := range buyers {
		w.wantReply(b, http.StatusCreated)
		o := w.orderOf(b)
		again, err := orderapi.Placed(o)
		if err != nil || !bytes.Equal(again.Body, b.Reply.Body) || o.ResponseBody != nil {
			t.Fatalf("the buyer got\n%s\nthe row makes\n%s\nand has\n%s", b.Reply.Body, again.Body, o.ResponseBody)
		}
		if o.GroupID != event.ShardKey || !o.ExpiresAt.Equal(expires) || o.Strategy != "fake" || o.AmountCents != 100 {
			t.Fatalf("order %+v; want group %s, expiring at %v", o, event.ShardKey, expires)
		}
	}
	if again := w.mustRepeat(buyers[7]); !bytes.Equal(again.Body, buyers[7].Reply.Body) {
		t.Errorf("the repeat got\n%s\nthe first\n%s", again.Body, buyers[7].Reply.Body)
	}
	w.wantHalves(mq.TxRollback, mq.TxRollback)
}

// groupCalls returns how many orders each call had, without those of the first order, which waits and may be retried.
func (w *world) groupCalls() []int {
	return slices.DeleteFunc(w.Inventory.Calls(), func(orders int) bool { return orders == 1 })
}

func (w *world) mustRepeat(b *ordertest.Buyer) orderapi.Reply {
	w.t.Helper()
	reply, err := w.Intake.Place(w.t.Context(), b.User, b.Request)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply
}

// wantHalves waits until the half messages have ended, and compares how.
func (w *world) wantHalves(want ...mq.TxState) {
	w.t.Helper()
	var got []mq.TxState
	for end := time.Now().Add(20 * time.Second); len(got) < len(want) && time.Now().Before(end); time.Sleep(time.Millisecond) {
		_, got = w.Broker.Halves()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("half messages (-want +got):\n%s", diff)
	}
}

// TestIntake_Place_groupDuplicates has keys come twice in a group, with the same payload and with another one.
func TestIntake_Place_groupDuplicates(t *testing.T) {
	t.Parallel()
	w := newGroupWorld(t)
	buyers := buyersOf("A", "B", "A", "C", "B")
	for i, key := range []string{"z", "a", "z", "a", "m"} {
		buyers[i].Request.IdempotencyKey = key
	}
	w.Together(buyers, nil)
	for i, want := range []int{201, 201, 202, 0, 201} {
		if i != 3 {
			w.wantReply(buyers[i], want)
		}
	}
	if buyers[2].Reply.OrderNo != buyers[0].Reply.OrderNo {
		t.Errorf("the repeat was answered about order %s, not %s", buyers[2].Reply.OrderNo, buyers[0].Reply.OrderNo)
	}
	if !errors.Is(buyers[3].Err, order.ErrIdempotency) {
		t.Errorf("another payload: error %v", buyers[3].Err)
	}
	if diff := cmp.Diff([]int{3}, w.groupCalls()); diff != "" {
		t.Errorf("orders of each call (-want +got):\n%s", diff)
	}
	if again := w.mustRepeat(buyers[0]); !bytes.Equal(again.Body, buyers[0].Reply.Body) {
		t.Errorf("the repeat got\n%s\nthe first\n%s", again.Body, buyers[0].Reply.Body)
	}
}

// TestIntake_Place_groupReplicas places the same keys at two replicas at once, in opposite order: no deadlock becomes
// an error, and each key has one order.
func TestIntake_Place_groupReplicas(t *testing.T) {
	t.Parallel()
	const rounds, keys = 5, 60
	w := newGroupWorld(t)
	other := w.Replica()
	for round := range rounds {
		here, there := buyersOf(slices.Repeat([]string{"A"}, keys)...), buyersOf(slices.Repeat([]string{"A"}, keys)...)
		slices.Reverse(there)
		var buying sync.WaitGroup
		for i := range keys {
			for _, b := range []struct {
				*ordertest.Buyer
				at interface {
					Place(context.Context, string, orderapi.PlaceRequest) (orderapi.Reply, error)
				}
			}{{here[i], w.Intake}, {there[i], other.Intake}} {
				b.Request.IdempotencyKey += fmt.Sprint("-", round)
				buying.Go(func() { b.Reply, b.Err = b.at.Place(t.Context(), "ann", b.Request) })
			}
		}
		buying.Wait()
		slices.Reverse(there)
		for i := range keys {
			for _, b := range []*ordertest.Buyer{here[i], there[i]} {
				if b.Err != nil || b.Reply.Status != 201 && b.Reply.Status != 202 || b.Reply.OrderNo != here[i].Reply.OrderNo {
					t.Errorf("key %s: reply %d about %s, error %v; want order %s", b.Request.IdempotencyKey, b.Reply.Status, b.Reply.OrderNo, b.Err, here[i].Reply.OrderNo)
				}
			}
		}
	}
	all, err := w.Orders.After(t.Context(), "", 1000)
	if err != nil || len(all) != rounds*keys {
		t.Errorf("%d orders, error %v; want %d", len(all), err, rounds*keys)
	}
}

// TestIntake_Place_groupOutcomes has each member of a group end in a way of its own.
func TestIntake_Place_groupOutcomes(t *testing.T) {
	t.Parallel()
	w := newGroupWorld(t)
	ambiguous := ordertest.Refuse(fault.ErrTimeout) // may have been executed, each time
	buyers := buyersOf("PLACED", "SHORT", "UNKNOWN", "OPEN", "BUSY", "SWEPT", "PLACED")
	short, cancel := context.WithTimeout(t.Context(), 3*time.Second) // OPEN and BUSY are retried until then
	defer cancel()
	buyers[3].Ctx, buyers[4].Ctx = short, short
	w.Together(buyers, bySKU(map[string]ordertest.Answer{
		"SHORT":   ordertest.Refuse(inventoryapi.ErrOutOfStock),
		"UNKNOWN": ordertest.Refuse(inventoryapi.ErrUnknownSKU),
		"OPEN":    ambiguous,
		"BUSY":    ordertest.Refuse(inventoryapi.ErrContended),
		"SWEPT": ordertest.Then(func(no string) {
			if n, err := w.Orders.Abandon(t.Context(), []string{no}, 0, true, store.Sweeper); n != 1 || err != nil {
				t.Errorf("abandoned %d, error %v", n, err)
			}
		}, ordertest.OK),
	}))
	for i, want := range []int{201, 409, 404, 202} {
		w.wantReply(buyers[i], want)
	}
	w.wantReply(buyers[6], 201)
	if got := ordertest.Code(buyers[4].Err); got != "contended" || fault.Ambiguous(buyers[4].Err) {
		t.Errorf("contended to the end: error %v", buyers[4].Err)
	}
	if !errors.Is(buyers[5].Err, order.ErrNotPending) {
		t.Errorf("swept meanwhile: error %v", buyers[5].Err)
	}
	for i, want := range []order.Status{order.Placed, order.Rejected, order.Rejected, order.Pending} {
		if got := w.orderOf(buyers[i]).Status; got != want {
			t.Errorf("%s is %s, want %s", buyers[i].Request.Items[0].SKU, got, want)
		}
	}
	for _, i := range []int{0, 1, 2, 6} {
		if !buyers[i].Done.Before(buyers[3].Done) {
			t.Errorf("%s waited for the member that is open", buyers[i].Request.Items[0].SKU)
		}
	}
	if diff := cmp.Diff([]string{"release-abandoned", "release-late", "timeout", "timeout"}, w.sorted()); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
	w.wantHalves(mq.TxRollback, mq.TxUnknown)

	// The check-back ends the open one. The message is rolled back for the others' sake; the outbox releases the units.
	open := buyers[3].Reply.OrderNo
	w.Age(open, time.Hour)
	if got := w.CheckHalf(buyers[0].Reply.OrderNo, open); got != mq.TxRollback {
		t.Errorf("check-back: %s, want rollback", got)
	}
	if got := w.Get(open).Status; got != order.Abandoned {
		t.Errorf("the open order is %s", got)
	}
	if diff := cmp.Diff([]string{"release-abandoned", "release-abandoned", "release-late", "timeout", "timeout"}, w.sorted()); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
}

// TestIntake_Place_groupLost loses the answer to the first call for a group, which was executed: the call is repeated
// for all, and each is placed once.
func TestIntake_Place_groupLost(t *testing.T) {
	t.Parallel()
	w := newGroupWorld(t)
	buyers := buyersOf("A", "B", "C")
	var once sync.Once
	w.Together(buyers, func(o inventoryapi.ReserveOrder) ordertest.Answer {
		answer := ordertest.OK
		if o.Lines[0].SKU == "B" {
			once.Do(func() { answer = ordertest.Lost })
		}
		return answer
	})
	for _, b := range buyers {
		w.wantReply(b, http.StatusCreated)
	}
	if diff := cmp.Diff([]int{3, 3}, w.groupCalls()); diff != "" {
		t.Errorf("orders of each call (-want +got):\n%s", diff)
	}
	w.wantHalves(mq.TxRollback, mq.TxRollback)
}

// TestIntake_Place_groupLockedRow has another transaction hold the row of one member when the outcomes are written. The
// others do not wait for it.
func TestIntake_Place_groupLockedRow(t *testing.T) {
	t.Parallel()
	w := newGroupWorld(t)
	buyers := buyersOf("A", "LOCKED", "C")
	unlock := make(chan struct{})
	var holding sync.WaitGroup
	defer holding.Wait()
	time.AfterFunc(1500*time.Millisecond, func() { close(unlock) }) // how long the lock is held is the subject
	w.Together(buyers, bySKU(map[string]ordertest.Answer{"LOCKED": ordertest.Then(func(no string) {
		tx := w.DB.Begin()
		if err := tx.Exec("SELECT order_no FROM orders WHERE order_no = ? FOR UPDATE", no).Error; err != nil {
			t.Error(err)
		}
		holding.Go(func() {
			<-unlock
			tx.Rollback()
		})
	}, ordertest.OK)}))
	for _, b := range buyers {
		w.wantReply(b, http.StatusCreated)
	}
	for _, b := range []*ordertest.Buyer{buyers[0], buyers[2]} {
		if !b.Done.Before(buyers[1].Done.Add(-100 * time.Millisecond)) {
			t.Errorf("%s waited for the locked row", b.Request.Items[0].SKU)
		}
	}
}

// TestIntake_Place_groupCallers has one caller give up in the queue, one while its group is in inventory, and one whose
// deadline ends there. Only the first leaves nothing behind, and the others of the group notice nothing.
func TestIntake_Place_groupCallers(t *testing.T) {
	t.Parallel()
	w := newGroupWorld(t)
	buyers := buyersOf("QUEUED", "GONE", "SHORT", "A")
	queued, leaveQueue := context.WithCancel(t.Context())
	gone, hangUp := context.WithCancel(t.Context())
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	buyers[0].Ctx, buyers[1].Ctx, buyers[2].Ctx = queued, gone, short
	begin := time.Now()
	w.TogetherAt(w.Intake, buyers, bySKU(map[string]ordertest.Answer{
		"GONE": ordertest.Then(func(string) { hangUp() }, ordertest.OK),
		// More than SHORT has, less than an attempt may take.
		"A": ordertest.Then(func(string) { time.Sleep(1400 * time.Millisecond) }, ordertest.OK),
	}), func() {
		leaveQueue()
		testkit.EventuallyTrue(t, 10*time.Second, "the caller leaves the queue", func() bool { return w.Intake.Queued() == len(buyers)-1 })
	})
	if err := buyers[0].Err; !errors.Is(err, fault.ErrCanceled) || fault.Ambiguous(err) {
		t.Errorf("who left the queue got error %v, ambiguous %v", err, fault.Ambiguous(err))
	}
	w.wantReply(buyers[2], http.StatusAccepted)
	if late := buyers[2].Done.Sub(begin); late > 2*time.Second {
		t.Errorf("the deadline was answered after %v of 2s", late)
	}
	w.wantReply(buyers[3], http.StatusCreated)
	for _, b := range buyers[1:] {
		o, err := w.Orders.ByKey(t.Context(), "ann", b.Request.IdempotencyKey)
		if err != nil || o.Status != order.Placed {
			t.Errorf("%s: %s, error %v; want PLACED", b.Request.Items[0].SKU, o.Status, err)
		}
	}
	if _, err := w.Orders.ByKey(t.Context(), "ann", buyers[0].Request.IdempotencyKey); !errors.Is(err, order.ErrNotFound) {
		t.Errorf("who left the queue has an order: error %v", err)
	}
}

// sorted returns the outbox's events by name.
func (w *world) sorted() []string { return slices.Sorted(slices.Values(w.Events())) }
