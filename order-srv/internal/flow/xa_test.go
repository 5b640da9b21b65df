package flow_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/sql"
)

func newXAWorld(t *testing.T, answers ...ordertest.Answer) *world {
	t.Helper()
	w := ordertest.NewWorldOn(t, dbtest.NewDSN(t, sql.Orders()), answers, ordertest.Timeout(2*time.Second),
		func(cfg *app.Config) { cfg.OrderFlow = flow.NameXA })
	return &world{w, t}
}

// newXA is the flow of a replica that only recovers.
func newXA(w *world, sweepAfter time.Duration) *flow.XA {
	return flow.NewXA(flow.Deps{
		Resolver: &flow.Resolver{Log: slog.New(slog.DiscardHandler)}, Upkeep: w.Orders, UpkeepBranches: w.Inventory.Client,
		SweepAfter: sweepAfter, Registry: prometheus.NewRegistry(),
	})
}

// recoverXA runs the recovery of a replica until the test ends.
func recoverXA(w *world, sweepAfter time.Duration) {
	f := newXA(w, sweepAfter)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, worker := range f.Workers() {
		running.Go(func() { worker(ctx) })
	}
	w.t.Cleanup(running.Wait)
	w.t.Cleanup(cancel)
}

// xaIs waits for the log's row of an order, as a request is answered before its log says done, and checks that neither
// database has a branch.
func xaIs(w *world, orderNo string, state, decision store.XAState) {
	w.t.Helper()
	testkit.Eventually(w.t, 20*time.Second, "the log says "+string(state), func() error {
		rows, err := w.Orders.XAOf(w.t.Context(), []string{orderNo})
		if err != nil || len(rows) != 1 || rows[0].State != state || rows[0].Decision != decision {
			return fmt.Errorf("the log has %+v, error %v; want %s %s", rows, fmt.Sprint(err), state, decision)
		}
		return nil
	})
	own, err := w.Orders.PreparedXA(w.t.Context())
	if theirs := w.Inventory.Prepared(); len(own)+len(theirs) != 0 || err != nil {
		w.t.Errorf("prepared branches: orders %v, inventory %v, error %v", own, theirs, err)
	}
}

// TestXA_place: both are prepared, then inventory is committed, and only then the order is PLACED.
func TestXA_place(t *testing.T) {
	t.Parallel()
	w := newXAWorld(t)
	var during []order.Status
	w.Inventory.AfterBranch(func(call string) {
		if strings.HasPrefix(call, "commit") {
			own, err := w.Orders.PreparedXA(t.Context())
			if err != nil || len(own) != 1 {
				t.Errorf("inventory is committed while orders has prepared %v, error %v; want one", own, err)
			}
			during = append(during, w.Only().Status)
		}
	})
	w.MustPlace("k", http.StatusCreated)
	o := w.Only()
	if o.Status != order.Placed || o.AmountCents != 300 || len(o.Items) != 2 || !slices.Equal(during, []order.Status{order.Pending}) {
		t.Errorf("order %+v; its status was %v when inventory was committed, want PENDING", o, during)
	}
	if got, want := w.Inventory.BranchCalls(), []string{"prepare " + o.OrderNo, "commit " + o.OrderNo}; !slices.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
	if got := w.Inventory.State(o.OrderNo); got != inventoryapi.StateReserved {
		t.Errorf("the reservation is %q", got)
	}
	if got := w.Events(); !slices.Equal(got, []string{"timeout"}) {
		t.Errorf("events %v, want one timeout", got)
	}
	xaIs(w, o.OrderNo, store.XADone, store.XACommit)
	w.MustPlace("k", http.StatusCreated) // the repeat
}

// TestXA_refused: a refusal is stored, and nothing stays prepared. A lost answer is no riddle for this flow: it aborts.
func TestXA_refused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer ordertest.Answer
		code   string
		status int // of a stored answer; 0: none
		holds  string
	}{
		"out of stock": {ordertest.Refuse(inventoryapi.OutOfStock(nil)), "out_of_stock", http.StatusConflict, ""},
		"wrong layout": {ordertest.Refuse(inventoryapi.ErrWrongLayout), "wrong_layout", 0, ""},
		"answer lost":  {ordertest.Lost, "inventory_unavailable", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newXAWorld(t, c.answer)
			reply, err := w.Place("k")
			if reply.Status != c.status || c.status == 0 && err == nil {
				t.Errorf("reply %d %s, error %v", reply.Status, reply.Body, err)
			}
			o := w.Only()
			if o.Status != order.Rejected || c.code != "inventory_unavailable" && o.Reason != c.code {
				t.Errorf("the order is %s for %q, want REJECTED for %s", o.Status, o.Reason, c.code)
			}
			xaIs(w, o.OrderNo, store.XADone, store.XAAbort)
		})
	}
}

// TestXA_recovery ends what a request has left, as it was decided, and aborts what was not decided, when it is old.
func TestXA_recovery(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		breaks string // the calls that inventory does not get
		late   bool   // the recovery finds the order while it is young
		status order.Status
		holds  string
		is     store.XAState
	}{
		"commit": {breaks: "commit", status: order.Placed, holds: inventoryapi.StateReserved, is: store.XACommit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newXAWorld(t)
			w.Inventory.FailBranch(func(call string) bool { return strings.HasPrefix(call, c.breaks) })
			w.MustPlace("k", http.StatusAccepted)
			o := w.Only()
			if o.Status != order.Pending || !slices.Equal(w.Inventory.Prepared(), []string{o.OrderNo}) {
				t.Fatalf("the order is %s and inventory has prepared %v", o.Status, w.Inventory.Prepared())
			}
			w.Inventory.FailBranch(nil)
			recoverXA(w, time.Hour)
			recoverXA(w, time.Hour) // of another replica
			w.ends(o.OrderNo, c.status)
			if got := w.Inventory.State(o.OrderNo); got != c.holds {
				t.Errorf("the reservation is %q, want %q", got, c.holds)
			}
			xaIs(w, o.OrderNo, store.XADone, c.is)
		})
	}
}

func (w *world) ends(orderNo string, status order.Status) {
	w.t.Helper()
	testkit.Eventually(w.t, 20*time.Second, "the order is "+string(status), func() error {
		if got := w.Get(orderNo).Status; got != status {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
}

// undecided leaves an order with both branches prepared and nothing decided, as a coordinator that dies does.
func undecided(w *world) string {
	w.t.Helper()
	no := inserted(w, "k")
	prepareBoth(w, no)
	return no
}

// inserted is an order of the flow that is PENDING.
func inserted(w *world, key string) string {
	w.t.Helper()
	inserted, err := w.Orders.Insert(w.t.Context(), []order.Order{{
		UserID: "ann", IdempotencyKey: key, RequestHash: strings.Repeat("a", 64), Status: order.Pending, Flow: flow.NameXA,
		Items: []order.Item{{SKU: "A", Quantity: 1}},
	}}, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return inserted[0].Order.OrderNo
}

func prepareBoth(w *world, no string) {
	w.t.Helper()
	receipt, err := w.Inventory.PrepareBranch(w.t.Context(), inventoryapi.PrepareRequest{OrderNo: no, Lines: []inventoryapi.Line{{SKU: "A", Quantity: 1}}})
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.Orders.PrepareXA(w.t.Context(), store.Decision{OrderNo: no, Placement: &store.Placement{
		Strategy: receipt.Strategy, Items: []order.Item{{SKU: "A", Title: "A", Quantity: 1, UnitPriceCents: 100}},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestXA_guard: of the request and the recovery one decides, also when both come at the same time.
func TestXA_guard(t *testing.T) {
	t.Parallel()
	w := newXAWorld(t)
	no := undecided(w)
	if won, err := w.Orders.DecideXA(t.Context(), no, store.XAAbort, time.Hour); won || err != nil {
		t.Errorf("a young order was aborted: %v, %v", won, err)
	}
	var won [8]bool
	var running sync.WaitGroup
	for i := range won {
		running.Go(func() {
			decision := []store.XAState{store.XACommit, store.XAAbort}[i%2]
			var err error
			if won[i], err = w.Orders.DecideXA(context.WithoutCancel(t.Context()), no, decision, 0); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	n := 0
	for _, one := range won {
		if one {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d decided, want 1", n)
	}
}

// TestXA_undecided: the recovery leaves a young order alone, aborts an old one, and never waits for its locked row.
func TestXA_undecided(t *testing.T) {
	t.Parallel()
	w := newXAWorld(t)
	no := undecided(w)
	recoverXA(w, 2*time.Second)
	w.ends(no, order.Abandoned)
	xaIs(w, no, store.XADone, store.XAAbort)
	if got := w.Inventory.State(no); got == inventoryapi.StateReserved {
		t.Error("inventory holds the units")
	}
}

// TestXA_late: a branch that is prepared after its order was aborted is rolled back.
func TestXA_late(t *testing.T) {
	t.Parallel()
	w := newXAWorld(t, ordertest.Refuse(inventoryapi.OutOfStock(nil)))
	w.MustPlace("k", http.StatusConflict)
	no := w.Only().OrderNo
	w.Inventory.Answer(ordertest.OK)
	if _, err := w.Inventory.PrepareBranch(t.Context(), inventoryapi.PrepareRequest{OrderNo: no, Lines: []inventoryapi.Line{{SKU: "A", Quantity: 1}}}); err != nil {
		t.Fatal(err)
	}
	recoverXA(w, time.Hour)
	testkit.EventuallyTrue(t, 20*time.Second, "the late branch is rolled back", func() bool { return len(w.Inventory.Prepared()) == 0 })
}

// TestXA_unknown: an order that the log does not have is abandoned, also while a branch has locked the row of another.
func TestXA_unknown(t *testing.T) {
	t.Parallel()
	w := newXAWorld(t)
	locked := undecided(w)
	unknown := inserted(w, "l")
	if err := w.DB.Exec("DELETE FROM xa_log").Error; err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	n, err := newXA(w, 0).Recover(t.Context(), []string{locked, unknown})
	if n != 1 || err != nil || time.Since(begin) > 2*time.Second {
		t.Errorf("recovered %d, error %v, after %v; want the order whose row is not locked, at once", n, err, time.Since(begin))
	}
	w.ends(unknown, order.Abandoned)
	recoverXA(w, 0) // rolls back the branch that is listed
	testkit.EventuallyTrue(t, 20*time.Second, "the branches are rolled back", func() bool {
		own, err := w.Orders.PreparedXA(t.Context())
		return err == nil && len(own)+len(w.Inventory.Prepared()) == 0
	})
	if n, err := newXA(w, 0).Recover(t.Context(), []string{locked}); n != 1 || err != nil {
		t.Errorf("recovered %d, error %v; want the order whose branch was rolled back", n, err)
	}
}

// TestXA_left: an order leaves after the retention with its row of the log, and stays while a branch has not ended.
func TestXA_left(t *testing.T) {
	t.Parallel()
	w := newXAWorld(t, ordertest.Lost)
	w.Inventory.FailBranch(func(call string) bool { return strings.HasPrefix(call, "rollback") })
	if reply, err := w.Place("k"); err == nil {
		t.Fatalf("reply %+v", reply)
	}
	no := w.Only().OrderNo
	const last = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
	for _, query := range []string{"UPDATE orders SET settled_at = UTC_TIMESTAMP(6), due_at = NULL", "UPDATE audit_rollup SET cutoff = '" + last + "'"} {
		if err := w.DB.Exec(query).Error; err != nil {
			t.Fatal(err)
		}
	}
	if ok, err := w.Orders.ClaimHistory(t.Context(), "me", time.Minute); !ok || err != nil {
		t.Fatalf("claimed %v, error %v", ok, err)
	}
	if _, err := w.Orders.Archive(t.Context(), "me", last); err == nil || !strings.Contains(err.Error(), "abort") {
		t.Errorf("an order whose branch is prepared leaves: error %v", err)
	}
	w.Inventory.FailBranch(nil)
	recoverXA(w, time.Hour)
	testkit.EventuallyTrue(t, 20*time.Second, "the log says done", func() bool {
		rows, err := w.Orders.XAOf(t.Context(), []string{no})
		return err == nil && rows[0].State == store.XADone
	})
	step, err := w.Orders.Archive(t.Context(), "me", last)
	if err != nil || step.Deleted != 1 {
		t.Errorf("%+v, error %v; want 1 order that was deleted", step, err)
	}
	if rows, err := w.Orders.XAOf(t.Context(), []string{no}); len(rows) != 0 || err != nil {
		t.Errorf("rows of the log are left: %v, error %v", rows, err)
	}
}

// TestXA_rest: a shop without orders of the flow lists its branches once and then seldom, while its log is read every
// second. Each listing is a request, and a line in inventory's log.
func TestXA_rest(t *testing.T) {
	t.Parallel()
	w := newXAWorld(t)
	var reads atomic.Int64
	err := w.DB.Callback().Row().After("gorm:row").Register("test:reads", func(tx *gorm.DB) {
		if strings.Contains(tx.Statement.SQL.String(), "xa_log") {
			reads.Add(1)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	f := flow.NewXA(flow.Deps{
		Resolver: &flow.Resolver{Log: slog.New(slog.DiscardHandler)}, Upkeep: store.New(w.DB, nil), UpkeepBranches: w.Inventory.Client,
		SweepAfter: time.Minute, Registry: prometheus.NewRegistry(),
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.Workers()[0](ctx) })
	before := w.Inventory.BranchLists()
	testkit.EventuallyTrue(t, time.Minute, "the log is read four times", func() bool { return reads.Load() >= 4 })
	if n := w.Inventory.BranchLists() - before; n != 1 {
		t.Errorf("the branches were listed %d times, want once", n)
	}
	cancel()
	running.Wait()
}

// TestXA_others: while a branch is prepared and its coordinator is dead, other orders are placed, paid and expired, and
// the healers end their passes without waiting for its row. A request about the locked order waits until its deadline.
func TestXA_others(t *testing.T) {
	t.Parallel()
	w := newXAWorld(t)
	young := inserted(w, "k")
	locked := w.Backdate(young, 24*time.Hour)
	// Its request is just dying.
	if err := w.DB.Exec("UPDATE xa_log SET gtrid = ? WHERE gtrid = ?", locked, young).Error; err != nil {
		t.Fatal(err)
	}
	prepareBoth(w, locked)
	begin := time.Now()
	paid := w.MustPlace("paid", http.StatusCreated)
	overdue := w.MustPlace("overdue", http.StatusCreated)
	if _, err := w.Orders.Pay(t.Context(), "ann", paid.OrderNo); err != nil {
		t.Error(err)
	}
	w.Age(overdue.OrderNo, 24*time.Hour)
	if err := w.Healer.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	w.ends(overdue.OrderNo, order.Expired)
	if got := w.Get(locked).Status; got != order.Pending {
		t.Errorf("the locked order is %s", got)
	}
	if took := time.Since(begin); took > 30*time.Second { // the branch stays prepared for longer
		t.Errorf("others took %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // as a request has
	defer cancel()
	begin = time.Now()
	if _, err := w.Orders.Cancel(ctx, "ann", locked); err == nil || time.Since(begin) > 30*time.Second {
		t.Errorf("a cancellation of the locked order: error %v, after %v; want one at its deadline", err, time.Since(begin))
	}
}
