package flow_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/mq"
)

const grace = 10 * time.Second

// begun inserts an order that nobody places.
func (w *world) begun(old bool) string {
	w.t.Helper()
	no := ulid.Make().String()
	o := order.Order{OrderNo: no, GroupID: no, UserID: "ann", IdempotencyKey: no, RequestHash: "h", Flow: "test", Items: []order.Item{{SKU: "A", Quantity: 1}}}
	if _, inserted, err := w.store.Insert(w.t.Context(), o); err != nil || !inserted {
		w.t.Fatalf("inserted %v, error %v", inserted, err)
	}
	if old {
		w.age(no, time.Minute)
	}
	return no
}

func (w *world) placed() string {
	w.t.Helper()
	no := w.begun(false)
	_, err := w.store.Place(w.t.Context(), no, store.Placement{
		Items:    []order.Item{{SKU: "A", Title: "A", Quantity: 1, UnitPriceCents: 1}},
		Patience: time.Hour,
		Answer:   func(order.Order) (int, []byte, error) { return 201, []byte("{}"), nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return no
}

func (w *world) rejected() string {
	w.t.Helper()
	no := w.begun(false)
	if err := w.store.Reject(w.t.Context(), no, store.Rejection{Reason: "x"}); err != nil {
		w.t.Fatal(err)
	}
	return no
}

func (w *world) abandoned() string {
	w.t.Helper()
	no := w.begun(true)
	if n, err := w.store.Abandon(w.t.Context(), []string{no}, 0, false, store.Sweeper); err != nil || n != 1 {
		w.t.Fatalf("abandoned %d, error %v", n, err)
	}
	return no
}

// absent makes the number of an order that was never inserted.
func absent(old bool) string {
	at := time.Now()
	if old {
		at = at.Add(-time.Minute)
	}
	return ulid.MustNew(ulid.Timestamp(at), ulid.DefaultEntropy()).String()
}

func TestCheckBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	young, old := func() string { return w.begun(false) }, func() string { return w.begun(true) }
	never, notYet := func() string { return absent(true) }, func() string { return absent(false) }
	tests := []struct {
		name   string
		orders []func() string
		want   mq.TxState
		healed float64
	}{
		{"pending and young", []func() string{young}, mq.TxUnknown, 0},
		{"pending and old", []func() string{old}, mq.TxCommit, 1},
		{"abandoned before", []func() string{w.abandoned}, mq.TxCommit, 0},
		{"placed", []func() string{w.placed}, mq.TxRollback, 0},
		{"rejected", []func() string{w.rejected}, mq.TxRollback, 0},
		{"no row, young", []func() string{notYet}, mq.TxUnknown, 0},
		{"no row, old", []func() string{never}, mq.TxCommit, 0},
		{"group: all old", []func() string{old, old}, mq.TxCommit, 2},
		{"group: one placed, one never inserted", []func() string{w.placed, never}, mq.TxRollback, 0},
		{"group: one rejected, one old", []func() string{w.rejected, old}, mq.TxRollback, 1},
		{"group: one placed, one young", []func() string{w.placed, young}, mq.TxUnknown, 0},
		{"group: one abandoned, one not yet inserted", []func() string{w.abandoned, notYet}, mq.TxUnknown, 0},
	}
	for _, tt := range tests { // one after another: they share the counter
		var orderNos []string
		for _, make := range tt.orders {
			orderNos = append(orderNos, make())
		}
		before := testutil.ToFloat64(w.healed)
		for range 2 { // the broker may ask twice
			if got := w.check(grace, orderNos...); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
			}
		}
		if got := testutil.ToFloat64(w.healed) - before; got != tt.healed {
			t.Errorf("%s: healed %v, want %v", tt.name, got, tt.healed)
		}
	}
}

// TestCheckBack_group: rolled back for another order's sake, the message does not give back what the abandoned one holds;
// the outbox does.
func TestCheckBack_group(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.check(grace, w.rejected(), w.begun(true))
	if diff := cmp.Diff([]string{"release-abandoned"}, w.events()); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
}

func TestCheckBack_unreadable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, body := range []string{"", "{", `{"orders":[]}`} {
		state, err := flow.CheckBack(w.store, grace, w.healed)(t.Context(), mq.Message{Body: []byte(body)})
		if state != mq.TxUnknown || err == nil {
			t.Errorf("%q: %s, error %v", body, state, err)
		}
	}
}
