package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/recovery"
)

// slowInventory does not answer releases of some orders, nor questions about some, until the caller gives up.
type slowInventory struct {
	*ordertest.Inventory

	mu        sync.Mutex
	slow      map[string]bool // by order number
	states    string          // questions that name this order are not answered; "all": none is
	questions int
	releases  map[string]int
	running   int
	most      int // releases that ran at the same time
}

var _ recovery.Inventory = (*slowInventory)(nil)

// States implements recovery.Inventory.
func (i *slowInventory) States(ctx context.Context, orderNos []string) (map[string]string, error) {
	i.mu.Lock()
	i.questions++
	hangs := i.states == "all" || i.states != "" && slices.Contains(orderNos, i.states)
	i.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return i.Inventory.States(ctx, orderNos)
}

// Release implements recovery.Inventory.
func (i *slowInventory) Release(ctx context.Context, orderNo string) error {
	i.mu.Lock()
	hangs := i.slow[orderNo]
	i.releases[orderNo]++
	i.running++
	i.most = max(i.most, i.running)
	i.mu.Unlock()
	defer func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.running--
	}()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return i.Inventory.Release(ctx, orderNo)
}

func (i *slowInventory) count(orderNo string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.releases[orderNo]
}

// slowed is a healer on an inventory that can be slow.
func (w *world) slowed() (*recovery.Healer, *slowInventory) {
	inventory := &slowInventory{Inventory: w.Inventory, slow: map[string]bool{}, releases: map[string]int{}}
	cfg := w.Config
	cfg.Inventory = inventory
	return recovery.New(cfg), inventory
}

// TestHealer_Reconcile_slowOrders: orders whose release is not answered delay neither those with which inventory agrees
// nor those that it releases, and are set aside for a while.
func TestHealer_Reconcile_slowOrders(t *testing.T) {
	t.Parallel()
	const slow = 11
	w := newWorld(t)
	h, inventory := w.slowed()
	for i := range slow {
		no := w.rename(w.Age(w.ended(order.Cancelled), 2*time.Minute), fmt.Sprintf("0000000000000000000000000%X", i))
		w.Inventory.Set(no, inventoryapi.StateReserved)
		inventory.slow[no] = true
	}
	lost := w.rename(w.Age(w.ended(order.Cancelled), 2*time.Minute), "YYYYYYYYYYYYYYYYYYYYYYYYYY")
	w.Inventory.Set(lost, inventoryapi.StateReserved)
	agreeing := w.rename(w.Age(w.ended(order.Cancelled), 5*time.Second), "ZZZZZZZZZZZZZZZZZZZZZZZZZZ")
	w.Inventory.Set(agreeing, inventoryapi.StateReleased)
	w.crowd(700)

	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if err := h.Reconcile(ctx); err == nil {
		t.Error("the pass reports no failure")
	}
	if w.Get(agreeing).SettledAt.IsZero() {
		t.Error("the agreeing order is not settled")
	}
	if w.Get(lost).SettledAt.IsZero() {
		t.Error("the order whose message was lost is not settled")
	}
	first := "00000000000000000000000000"
	if n := inventory.count(first); n != 1 {
		t.Errorf("the first slow order was released %d times in a pass, want 1", n)
	}
	if inventory.most > 10 {
		t.Errorf("%d releases ran at the same time", inventory.most)
	}
	if err := h.Reconcile(ctx); err != nil {
		t.Errorf("the next pass: %v", err)
	}
	if n := inventory.count(first); n != 1 {
		t.Errorf("after the next pass the first slow order was released %d times; want it set aside", n)
	}
}

// TestHealer_Reconcile_slowQuestion: a batch about which inventory does not answer does not keep the healer from the
// next.
func TestHealer_Reconcile_slowQuestion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, inventory := w.slowed()
	inventory.states = w.rename(w.Age(w.ended(order.Cancelled), 2*time.Minute), "00000000000000000000000000")
	agreeing := w.rename(w.Age(w.ended(order.Cancelled), 5*time.Second), "ZZZZZZZZZZZZZZZZZZZZZZZZZZ")
	w.Inventory.Set(agreeing, inventoryapi.StateReleased)
	w.crowd(700)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		if err := h.Reconcile(ctx); err == nil {
			t.Error("the pass reports no failure")
		}
		cancel()
	}
	if w.Get(agreeing).SettledAt.IsZero() {
		t.Error("the agreeing order of a later batch is not settled")
	}
}

// TestHealer_Reconcile_alarmOnce: an order that no healer can mend is reported once, whatever the number of passes,
// replicas and restarts.
func TestHealer_Reconcile_alarmOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	no := w.Age(w.ended(order.Cancelled), 2*time.Minute)
	w.Inventory.Set(no, inventoryapi.StateConfirmed)
	for range 2 {
		w.must(w.Reconcile)
		w.must(w.replica().Reconcile)
	}
	if got := testutil.ToFloat64(w.alarms); got != 1 {
		t.Errorf("%v alarms, want 1", got)
	}
	if !w.Get(no).SettledAt.IsZero() {
		t.Error("the order is settled, though its units count as sold")
	}
}

// TestHealer_Sweep_lockedOrder: an order whose row another transaction holds does not keep the sweeper from the others.
func TestHealer_Sweep_lockedOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	locked, old := w.Age(w.pending(), 2*time.Hour), w.Age(w.pending(), time.Hour)
	lockedToo, overdue := w.Age(w.placed(), 3*time.Hour), w.Age(w.placed(), 2*time.Hour)
	tx := w.DB.Begin()
	defer tx.Rollback()
	if err := tx.Exec("SET SESSION wait_timeout = 300").Error; err != nil { // else the server ends the idle transaction
		t.Fatal(err)
	}
	for _, no := range []string{locked, lockedToo} { // each by its key, which locks nothing else
		if err := tx.Exec("SELECT order_no FROM orders WHERE order_no = ? FOR UPDATE", no).Error; err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // as long as Run gives a pass
	defer cancel()
	if err := w.Sweep(ctx); err == nil {
		t.Error("the pass reports no failure")
	}
	if got := w.Get(old).Status; got != order.Abandoned {
		t.Errorf("the order that can be abandoned is %s", got)
	}
	if got := w.Get(overdue).Status; got != order.Expired {
		t.Errorf("the order that can expire is %s", got)
	}
}

// TestHealer_Run_sweepsMeanwhile: an inventory that does not answer does not keep the sweeper from its work.
func TestHealer_Run_sweepsMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, inventory := w.slowed()
	inventory.states = "all"
	no := w.pending()
	w.Age(w.ended(order.Cancelled), 2*time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { h.Run(ctx) })
	defer running.Wait()
	defer cancel()
	testkit.Eventually(t, 20*time.Second, "inventory is asked", func() error {
		inventory.mu.Lock()
		defer inventory.mu.Unlock()
		if inventory.questions == 0 {
			return errors.New("no question yet")
		}
		return nil
	})
	w.Age(no, time.Minute)
	testkit.Eventually(t, 20*time.Second, "the old order is abandoned", func() error {
		if got := w.Get(no).Status; got != order.Abandoned {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
}
