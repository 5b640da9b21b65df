package flow_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
)

// TestTxMessage_Place is every way in which inventory can answer, and what the order, the client, the outbox and the
// half message must become.
func TestTxMessage_Place(t *testing.T) {
	t.Parallel()
	short := inventoryapi.ErrOutOfStock.With("short", []string{"A"})
	timedOut := fault.ErrTimeout.NotExecuted()
	tests := []struct {
		name    string
		answers []ordertest.Answer

		status   int    // of the reply
		code     string // of the error or of the stored problem
		order    order.Status
		reason   string
		events   []string
		half     mq.TxState
		settled  bool
		freed    bool
		reserved bool // inventory holds units at the end
	}{
		{"placed at once", []ordertest.Answer{ordertest.OK}, 201, "", order.Placed, "", []string{"timeout"}, mq.TxRollback, false, false, true},
		{"answer lost, the retry succeeds", []ordertest.Answer{ordertest.Lost, ordertest.OK}, 201, "", order.Placed, "", []string{"timeout"}, mq.TxRollback, false, false, true},
		{"contended, then placed", []ordertest.Answer{ordertest.Refuse(inventoryapi.ErrContended), ordertest.OK}, 201, "", order.Placed, "", []string{"timeout"}, mq.TxRollback, false, false, true},
		{"sold out", []ordertest.Answer{ordertest.Refuse(short)}, 409, "out_of_stock", order.Rejected, "out_of_stock", nil, mq.TxRollback, true, false, false},
		{"unknown SKU", []ordertest.Answer{ordertest.Refuse(inventoryapi.ErrUnknownSKU)}, 404, "unknown_sku", order.Rejected, "unknown_sku", nil, mq.TxRollback, true, false, false},
		{"invalid lines", []ordertest.Answer{ordertest.Refuse(inventoryapi.ErrInvalidLines)}, 400, "invalid_lines", order.Rejected, "invalid_lines", nil, mq.TxRollback, true, false, false},
		{"unknown strategy", []ordertest.Answer{ordertest.Refuse(fault.New(fault.Invalid, "unknown_strategy", ""))}, 400, "unknown_strategy", order.Rejected, "unknown_strategy", nil, mq.TxRollback, true, false, false},
		{"mismatch", []ordertest.Answer{ordertest.Refuse(inventoryapi.ErrMismatch)}, 422, "mismatch", order.Rejected, "mismatch", nil, mq.TxRollback, true, false, false},
		{"closed", []ordertest.Answer{ordertest.Refuse(inventoryapi.ErrClosed)}, 409, "closed", order.Rejected, "closed", nil, mq.TxRollback, true, false, false},
		{"the first attempt executed, its answer lost, the second refused", []ordertest.Answer{ordertest.Lost, ordertest.Refuse(short)}, 409, "out_of_stock", order.Rejected, "out_of_stock", []string{"release-rejected"}, mq.TxRollback, false, false, true},
		{"the first attempt still in a queue, the second refused", []ordertest.Answer{ordertest.Dropped, ordertest.Refuse(short)}, 409, "out_of_stock", order.Rejected, "out_of_stock", []string{"release-rejected"}, mq.TxRollback, false, false, false},
		{"no clear answer to the end", []ordertest.Answer{ordertest.Dropped}, 202, "", order.Pending, "", nil, mq.TxUnknown, false, false, false},
		{"executed, no answer to the end", []ordertest.Answer{ordertest.Lost}, 202, "", order.Pending, "", nil, mq.TxUnknown, false, false, true},
		{"ambiguous, then contended to the end", []ordertest.Answer{ordertest.Dropped, ordertest.Refuse(inventoryapi.ErrContended)}, 202, "", order.Pending, "", nil, mq.TxUnknown, false, false, false},
		{"contended to the end", []ordertest.Answer{ordertest.Refuse(inventoryapi.ErrContended)}, 0, "contended", order.Rejected, "contended", nil, mq.TxRollback, true, true, false},
		{"never its turn", []ordertest.Answer{ordertest.Refuse(timedOut)}, 0, "contended", order.Rejected, "contended", nil, mq.TxRollback, true, true, false},
		{"overloaded", []ordertest.Answer{ordertest.Refuse(fault.New(fault.Limited, "overloaded", ""))}, 0, "overloaded", order.Rejected, "overloaded", nil, mq.TxRollback, true, true, false},
		{"ambiguous, then overloaded", []ordertest.Answer{ordertest.Lost, ordertest.Refuse(fault.New(fault.Limited, "overloaded", "")), ordertest.OK}, 201, "", order.Placed, "", []string{"timeout"}, mq.TxRollback, false, false, true},
		{"not executed, and never will be", []ordertest.Answer{ordertest.Refuse(fault.New(fault.Conflict, "wrong_layout", ""))}, 0, "wrong_layout", order.Rejected, "wrong_layout", nil, mq.TxRollback, true, true, false},
		{"an ambiguous refusal is none", []ordertest.Answer{ordertest.Refuse(inventoryapi.ErrOutOfStock.MaybeExecuted())}, 202, "", order.Pending, "", nil, mq.TxUnknown, false, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.answers...)
			reply, err := w.Place("k")
			if reply.Status != tt.status || ordertest.Code(err)+ordertest.Problem(reply) != tt.code {
				t.Errorf("reply %d %s, error %v; want %d %s", reply.Status, reply.Body, err, tt.status, tt.code)
			}
			if err != nil && fault.Ambiguous(err) {
				t.Errorf("the error says that something may have been executed: %v", err)
			}
			o := w.Only()
			if o.Status != tt.order || o.Reason != tt.reason || o.SettledAt.IsZero() == tt.settled || (o.IdempotencyKey == "") != tt.freed {
				t.Errorf("order %+v; want %s %q, settled %v, key freed %v", o, tt.order, tt.reason, tt.settled, tt.freed)
			}
			if want := map[order.Status]string{order.Placed: "fake"}[o.Status]; o.Strategy != want {
				t.Errorf("strategy %q, want that of the receipt: %q", o.Strategy, want)
			}
			if diff := cmp.Diff(tt.events, w.Events()); diff != "" {
				t.Errorf("outbox (-want +got):\n%s", diff)
			}
			if got := w.Half(); got != tt.half {
				t.Errorf("half message: %s, want %s", got, tt.half)
			}
			if got := w.Inventory.State(o.OrderNo) == inventoryapi.StateReserved; got != tt.reserved {
				t.Errorf("inventory holds units: %v, want %v", got, tt.reserved)
			}
			w.mustRepeat(reply, err)
		})
	}
}

// mustRepeat sends the request again: a stored answer comes back byte by byte, an undecided order is still undecided, a
// freed key makes a new order.
func (w *world) mustRepeat(first orderapi.Reply, firstErr error) {
	w.t.Helper()
	before := w.Inventory.Attempts()
	again, err := w.Place("k")
	if firstErr == nil {
		if err != nil || again.Status != first.Status || again.OrderNo != first.OrderNo {
			w.t.Errorf("repeat: %d %s, error %v; want %d %s", again.Status, again.OrderNo, err, first.Status, first.OrderNo)
		}
		if first.Status != http.StatusAccepted && string(again.Body) != string(first.Body) {
			w.t.Errorf("repeat got\n%s\nthe first got\n%s", again.Body, first.Body)
		}
		other := ordertest.Request("k")
		other.Items[0].Quantity = 7
		if _, err := w.Intake.Place(w.t.Context(), "ann", other); !errors.Is(err, order.ErrIdempotency) {
			w.t.Errorf("another payload: error %v", err)
		}
		if got := w.Inventory.Attempts(); got != before {
			w.t.Errorf("repeats reserved %d times", got-before)
		}
		return
	}
	if ordertest.Code(err) != ordertest.Code(firstErr) || w.Inventory.Attempts() == before {
		w.t.Errorf("repeat with a freed key: error %v after %d attempts, want a new order with %v", err, w.Inventory.Attempts()-before, firstErr)
	}
}

// TestTxMessage_Place_overloaded: a refusal for overload is the answer. Repeating the call would add to the load.
func TestTxMessage_Place_overloaded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ordertest.Refuse(fault.New(fault.Limited, "overloaded", "")), ordertest.OK)
	_, err := w.Place("k")
	if fault.KindOf(err) != fault.Limited || fault.Ambiguous(err) || w.Inventory.Attempts() != 1 {
		t.Errorf("error %v after %d attempts; want overloaded after 1", err, w.Inventory.Attempts())
	}
}

// TestTxMessage_Place_littleTime has too little time for an attempt when it is inventory's turn. A call that is cut
// would leave the order PENDING; without a call it is rejected, and no stock was taken.
func TestTxMessage_Place_littleTime(t *testing.T) {
	t.Parallel()
	// The sleep is longer than the time that is left.
	w := newWorld(t, ordertest.Then(func(string) { time.Sleep(300 * time.Millisecond) }, ordertest.OK))
	ctx, cancel := context.WithTimeout(t.Context(), 790*time.Millisecond) // 700 for the outcome
	defer cancel()
	if _, err := w.Intake.Place(ctx, "ann", ordertest.Request("k")); !errors.Is(err, inventoryapi.ErrContended) {
		t.Errorf("error %v, want contended", err)
	}
	if o := w.Only(); o.Status != order.Rejected || o.SettledAt.IsZero() || w.Inventory.Attempts() != 0 {
		t.Errorf("order is %s after %d attempts", o.Status, w.Inventory.Attempts())
	}
}

// TestTxMessage_Place_slowOutcome has the order's row locked for two seconds when its outcome is to be written. As long
// as the deadline is ahead there is time for that.
func TestTxMessage_Place_slowOutcome(t *testing.T) {
	t.Parallel()
	const locked = 2 * time.Second
	var w *world
	var unlocked sync.WaitGroup
	w = newSlowWorld(t, 15*time.Second, ordertest.Then(func(orderNo string) {
		tx := w.DB.Begin()
		if err := tx.Exec("SELECT order_no FROM orders WHERE order_no = ? FOR UPDATE", orderNo).Error; err != nil {
			t.Error(err)
		}
		unlocked.Go(func() {
			time.Sleep(locked) // how long the lock is held is the subject
			tx.Rollback()
		})
	}, ordertest.OK))
	reply, err := w.Place("k")
	unlocked.Wait()
	if err != nil || reply.Status != http.StatusCreated {
		t.Errorf("reply %d %s, error %v; want 201", reply.Status, reply.Body, err)
	}
	if got := w.Half(); got != mq.TxRollback {
		t.Errorf("half message: %s", got)
	}
}

// TestTxMessage_Place_brokerDown expects a clear refusal in time, a free key, and nothing asked of inventory.
func TestTxMessage_Place_brokerDown(t *testing.T) {
	t.Parallel()
	for name, hang := range map[string]bool{"refuses": false, "hangs": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Broker.SetDown(true, hang)
			begin := time.Now()
			_, err := w.Place("k")
			if !errors.Is(err, order.ErrBrokerUnavailable) || fault.Ambiguous(err) {
				t.Errorf("error %v, want broker_unavailable", err)
			}
			if took := time.Since(begin); took > ordertest.RequestTimeout {
				t.Errorf("the answer took %v of %v", took, ordertest.RequestTimeout)
			}
			o := w.Only()
			if o.Status != order.Rejected || o.IdempotencyKey != "" || o.SettledAt.IsZero() || w.Inventory.Attempts() != 0 {
				t.Errorf("order %+v after %d attempts", o, w.Inventory.Attempts())
			}
			w.Broker.SetDown(false, false)
			if reply, err := w.Place("k"); err != nil || reply.Status != http.StatusCreated {
				t.Errorf("after the broker is back: %d, error %v", reply.Status, err)
			}
		})
	}
}

// TestTxMessage_Place_sweptMeanwhile ends the order while its units are being reserved. They must be given back, and
// the client must not receive an order.
func TestTxMessage_Place_sweptMeanwhile(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer ordertest.Answer
		events []string
	}{
		"then placed":    {ordertest.OK, []string{"release-abandoned", "release-late"}},
		"then refused":   {ordertest.Refuse(inventoryapi.ErrOutOfStock), []string{"release-abandoned"}},
		"then withdrawn": {ordertest.Refuse(fault.New(fault.Conflict, "wrong_layout", "")), []string{"release-abandoned"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var w *world
			w = newWorld(t, ordertest.Then(func(orderNo string) {
				if n, err := w.Orders.Abandon(t.Context(), []string{orderNo}, 0, true, store.Sweeper); n != 1 || err != nil {
					t.Errorf("abandoned %d, error %v", n, err)
				}
			}, tt.answer))
			_, err := w.Place("k")
			if !errors.Is(err, order.ErrNotPending) {
				t.Errorf("error %v, want order_ended", err)
			}
			if got := w.Only().Status; got != order.Abandoned {
				t.Errorf("order is %s", got)
			}
			if diff := cmp.Diff(tt.events, w.Events()); diff != "" {
				t.Errorf("outbox (-want +got):\n%s", diff)
			}
			if got := w.Half(); got != mq.TxRollback {
				t.Errorf("half message: %s", got)
			}
			w.Inventory.Answer(ordertest.OK)
			if reply, err := w.Place("k"); err != nil || reply.Status != http.StatusCreated {
				t.Errorf("retry: reply %d, error %v; want a new order", reply.Status, err)
			}
		})
	}
}

// TestTxMessage_Place_callerGone has the caller give up when its units are taken. The order is placed all the same: the
// client finds it under its key.
func TestTxMessage_Place_callerGone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	w := newWorld(t, ordertest.Then(func(string) { cancel() }, ordertest.OK))
	if reply, err := w.Intake.Place(ctx, "ann", ordertest.Request("k")); err != nil || reply.Status != http.StatusCreated {
		t.Errorf("reply %d, error %v", reply.Status, err)
	}
	if got := w.Only().Status; got != order.Placed {
		t.Errorf("order is %s", got)
	}
}
