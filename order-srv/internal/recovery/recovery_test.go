package recovery_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/recovery"
	"holdfast/order-srv/internal/store"
	"holdfast/sql"
)

type world struct {
	*ordertest.World
	*recovery.Healer
	t      *testing.T
	healed *prometheus.CounterVec
	alarms prometheus.Counter
}

func newWorld(t *testing.T) *world {
	t.Helper()
	// With RECONCILE_AFTER it makes a reservation unknown after an hour.
	window := func(cfg *app.Config) { cfg.PaymentTimeout = 59 * time.Minute }
	w := ordertest.NewWorldOn(t, dbtest.NewDSN(t, sql.Orders()), nil, window)
	return &world{w, w.Healer, t, w.Metrics.Healed, w.Metrics.Alarms}
}

// replica is another healer on the same database, with the same counters.
func (w *world) replica() *recovery.Healer { return recovery.New(w.Config) }

func (w *world) count(by string) float64 { return testutil.ToFloat64(w.healed.WithLabelValues(by)) }

// pending inserts an order with a number that the sweeper looks at, whenever the order is to be old enough.
func (w *world) pending() string {
	w.t.Helper()
	no := ordertest.OldNumber(24 * time.Hour)
	o := order.Order{OrderNo: no, GroupID: no, UserID: "ann", IdempotencyKey: no, RequestHash: ordertest.RequestHash, Flow: "tx-message", Items: []order.Item{{SKU: "A", Quantity: 1}}}
	if _, inserted, err := ordertest.Insert(w.t.Context(), w.Orders, o); err != nil || !inserted {
		w.t.Fatalf("inserted %v, error %v", inserted, err)
	}
	return no
}

func (w *world) placed() string {
	w.t.Helper()
	no := w.pending()
	_, err := ordertest.Place(w.t.Context(), w.Orders, no, store.Placement{
		Items: []order.Item{{SKU: "A", Title: "A", Quantity: 1, UnitPriceCents: 1}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return no
}

func (w *world) ended(to order.Status) string {
	w.t.Helper()
	no := w.placed()
	end := w.Orders.Pay
	if to == order.Cancelled {
		end = w.Orders.Cancel
	}
	if _, err := end(w.t.Context(), "ann", no); err != nil {
		w.t.Fatal(err)
	}
	return no
}

func (w *world) must(pass func(context.Context) error) {
	w.t.Helper()
	if err := pass(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func TestHealer_Sweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	young, old := w.pending(), w.Age(w.pending(), 31*time.Second)
	placed, due := w.placed(), w.Age(w.placed(), time.Hour+10*time.Second) // its message may still come
	overdue := w.Age(w.placed(), time.Hour+31*time.Second)
	other := w.replica()
	for range 2 { // again, and by another replica: nothing is healed twice
		w.must(w.Sweep)
		w.must(other.Sweep)
	}
	for no, want := range map[string]order.Status{
		young: order.Pending, old: order.Abandoned, placed: order.Placed, due: order.Placed, overdue: order.Expired,
	} {
		if got := w.Get(no).Status; got != want {
			t.Errorf("order is %s, want %s", got, want)
		}
	}
	if got := w.count("sweeper"); got != 2 {
		t.Errorf("the sweeper healed %v, want 2", got)
	}
	var ids []string
	if err := w.DB.Raw("SELECT SUBSTRING(event_id, 28) FROM outbox WHERE shard_key IN ? AND topic <> 'order-timeout' ORDER BY id", []string{old, overdue}).Scan(&ids).Error; err != nil {
		t.Fatal(err)
	}
	if len(ids) != 2 || ids[0] != "release-abandoned" || ids[1] != "EXPIRED" {
		t.Errorf("events %v", ids)
	}
}

func TestHealer_Reconcile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		status order.Status
		age    time.Duration
		state  string // of inventory, before

		order   order.Status // after
		after   string       // inventory
		settled bool
		healed  float64
		alarms  float64
	}{
		{"agree at once", order.Paid, 3 * time.Second, inventoryapi.StateConfirmed, order.Paid, inventoryapi.StateConfirmed, true, 0, 0},
		{"agree, cancelled", order.Cancelled, 3 * time.Second, inventoryapi.StateReleased, order.Cancelled, inventoryapi.StateReleased, true, 0, 0},
		{"agree, tombstone", order.Cancelled, 3 * time.Second, inventoryapi.StateVoid, order.Cancelled, inventoryapi.StateVoid, true, 0, 0},
		{"too young to be asked about", order.Paid, 0, inventoryapi.StateConfirmed, order.Paid, inventoryapi.StateConfirmed, false, 0, 0},
		{"the message is on its way", order.Paid, 3 * time.Second, inventoryapi.StateReserved, order.Paid, inventoryapi.StateReserved, false, 0, 0},
		{"absent is no agreement", order.Cancelled, 3 * time.Second, "", order.Cancelled, "", false, 0, 0},
		{"paid, the message lost", order.Paid, 2 * time.Minute, inventoryapi.StateReserved, order.Paid, inventoryapi.StateConfirmed, true, 1, 0},
		{"cancelled, the message lost", order.Cancelled, 2 * time.Minute, inventoryapi.StateReserved, order.Cancelled, inventoryapi.StateReleased, true, 1, 0},
		{"absent becomes a tombstone", order.Cancelled, 2 * time.Minute, "", order.Cancelled, inventoryapi.StateVoid, true, 1, 0},
		{"confirm refused", order.Paid, 2 * time.Minute, inventoryapi.StateReleased, order.RefundDue, inventoryapi.StateReleased, false, 1, 0},
		{"paid, and inventory does not know it", order.Paid, 2 * time.Minute, "", order.RefundDue, "", false, 1, 0},
		{"cancelled, and it counts as sold", order.Cancelled, 2 * time.Minute, inventoryapi.StateConfirmed, order.Cancelled, inventoryapi.StateConfirmed, false, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			no := w.Age(w.ended(tt.status), tt.age)
			if tt.state != "" {
				w.Inventory.Set(no, tt.state)
			}
			w.must(w.Reconcile)
			o := w.Get(no)
			if o.Status != tt.order || o.SettledAt.IsZero() == tt.settled || w.Inventory.State(no) != tt.after {
				t.Errorf("order %s, settled %v, inventory %q; want %s, %v, %q", o.Status, !o.SettledAt.IsZero(), w.Inventory.State(no), tt.order, tt.settled, tt.after)
			}
			if got := w.count("reconciler"); got != tt.healed {
				t.Errorf("the reconciler healed %v, want %v", got, tt.healed)
			}
			if got := testutil.ToFloat64(w.alarms); got != tt.alarms {
				t.Errorf("%v alarms, want %v", got, tt.alarms)
			}
			if tt.order == order.RefundDue { // it holds nothing, so inventory has to agree to that in turn
				w.Age(no, 2*time.Minute)
				w.must(w.Reconcile)
				if w.Get(no).SettledAt.IsZero() {
					t.Error("a REFUND_DUE order that holds nothing is not settled")
				}
			}
		})
	}
}

// TestHealer_Reconcile_oneBad: an order that cannot be healed does not keep the healer from the others, not even from
// those in later batches.
func TestHealer_Reconcile_oneBad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bad := w.rename(w.Age(w.ended(order.Cancelled), 2*time.Minute), "00000000000000000000000000")
	w.Inventory.Set(bad, inventoryapi.StateReserved)
	w.Inventory.RefuseEnd(bad, inventoryapi.ErrContended)
	good := w.rename(w.Age(w.ended(order.Paid), 2*time.Minute), "ZZZZZZZZZZZZZZZZZZZZZZZZZZ")
	w.Inventory.Set(good, inventoryapi.StateReserved)
	w.crowd(700)
	if err := w.Reconcile(t.Context()); err == nil {
		t.Error("the pass says that all is well")
	}
	if o := w.Get(good); o.SettledAt.IsZero() || w.Inventory.State(good) != inventoryapi.StateConfirmed {
		t.Errorf("the good order is settled: %v, inventory says %q", !o.SettledAt.IsZero(), w.Inventory.State(good))
	}
	if o := w.Get(bad); !o.SettledAt.IsZero() {
		t.Error("the bad order is settled")
	}
}

// TestHealer_Reconcile_twoReplicas: both find the same orders at the same time. Each is healed, and counted once.
func TestHealer_Reconcile_twoReplicas(t *testing.T) {
	t.Parallel()
	const orders = 40
	w := newWorld(t)
	for range orders {
		w.Inventory.Set(w.Age(w.ended(order.Cancelled), 2*time.Minute), inventoryapi.StateReserved)
	}
	var both sync.WaitGroup
	for _, h := range []*recovery.Healer{w.Healer, w.replica()} {
		both.Go(func() {
			if err := h.Reconcile(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if left, err := w.Orders.Unsettled(t.Context(), 0, store.Place{}, orders); err != nil || len(left.Orders) != 0 {
		t.Errorf("%d orders are not settled, error %v", len(left.Orders), err)
	}
	if got := w.count("reconciler"); got != orders {
		t.Errorf("the reconciler healed %v, want %d", got, orders)
	}
}

// rename gives an order another number, and with it another place in the order of batches.
func (w *world) rename(from, to string) string {
	w.t.Helper()
	for _, table := range []string{"orders", "order_items"} {
		if err := w.DB.Exec("UPDATE "+table+" SET order_no = ? WHERE order_no = ?", to, from).Error; err != nil {
			w.t.Fatal(err)
		}
	}
	return to
}

// crowd writes n ended orders, more than a batch, whose numbers come after all zeros and before all Zs.
func (w *world) crowd(n int) {
	w.t.Helper()
	var values []any
	query := "INSERT INTO orders (order_no, group_id, user_id, request_hash, status, flow, created_at, updated_at, due_at) VALUES "
	for i := range n {
		if i > 0 {
			query += ", "
		}
		query += "(?, 'g', 'crowd', 'h', 'CANCELLED', 'test', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) - INTERVAL 10 SECOND, UTC_TIMESTAMP(6) - INTERVAL 10 SECOND)"
		values = append(values, fmt.Sprintf("10000000000000000000000%03d", i))
	}
	if err := w.DB.Exec(query, values...).Error; err != nil {
		w.t.Fatal(err)
	}
}

// TestHealer_Reconcile_inventoryDown changes nothing and goes on when inventory is back.
func TestHealer_Reconcile_inventoryDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	no := w.Age(w.ended(order.Paid), 2*time.Minute)
	w.Inventory.Set(no, inventoryapi.StateReserved)
	w.Inventory.SetDown(true)
	if err := w.Reconcile(t.Context()); err == nil || w.Get(no).Status != order.Paid || !w.Get(no).SettledAt.IsZero() {
		t.Errorf("error %v, order %+v", err, w.Get(no))
	}
	w.Inventory.SetDown(false)
	w.must(w.Reconcile)
	if w.Get(no).SettledAt.IsZero() {
		t.Error("not settled after inventory is back")
	}
}

// TestHealer_Run has both backstops at work, in two replicas, until they are stopped.
func TestHealer_Run(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	no := w.Age(w.pending(), time.Minute)
	w.Inventory.Set(no, inventoryapi.StateReserved) // its release was lost
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	running.Go(func() { w.replica().Run(ctx) })
	testkit.Eventually(t, 20*time.Second, "the order is abandoned", func() error {
		if got := w.Get(no).Status; got != order.Abandoned {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
	w.Age(no, time.Hour)
	testkit.Eventually(t, 20*time.Second, "its units are given back", func() error {
		if o := w.Get(no); o.SettledAt.IsZero() || w.Inventory.State(no) != inventoryapi.StateReleased {
			return fmt.Errorf("settled %v, inventory says %s", o.SettledAt, w.Inventory.State(no))
		}
		return nil
	})
	cancel()
	running.Wait()
	if w.count("sweeper") != 1 || w.count("reconciler") != 1 {
		t.Errorf("healed by the sweeper %v, by the reconciler %v", w.count("sweeper"), w.count("reconciler"))
	}
}
