package e2e_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/crash"
)

// pointRows are the rows in which a service dies at a crash point.
func pointRows() []crashRow {
	return []crashRow{
		{killed: "order-srv after PENDING, before the half message", run: diesPending},
		{killed: "order-srv after the half message, before reserve", run: diesHalfSent},
		{killed: "order-srv after reserve, before PLACED commits", run: diesReserved},
		{killed: "order-srv after REJECTED, before end-transaction", run: diesRejected},
		{killed: "order-srv after PLACED, before end-transaction", run: diesPlaced},
		{killed: "order-srv after PENDING, before the half message of a group of many", run: groupDies(crash.OrderPending, orderapi.StatusAbandoned)},
		{killed: "order-srv after the half message of a group, before reserve", run: groupDies(crash.OrderHalfSent, orderapi.StatusAbandoned)},
		{killed: "order-srv after reserve of a group, before PLACED commits", run: groupDies(crash.OrderReserved, orderapi.StatusAbandoned)},
		{killed: "order-srv after PLACED of a group, before end-transaction", run: groupDies(crash.OrderPlaced, orderapi.StatusPlaced)},
		{killed: "order-srv after REJECTED of a group, before end-transaction", run: groupDies(crash.OrderRejected, orderapi.StatusRejected)},
		{killed: "order-srv's check-back after ABANDONED, next check", run: diesAbandoned},
		{
			killed: "order-srv's check-back after ABANDONED, no check any more", run: diesAbandonedReconciled,
			devOnly: "it can be told to lose the ends of transactions",
		},
		{killed: "inventory-srv before its commit", run: diesDeducted},
		{killed: "inventory-srv after its commit, before its answer", run: diesCommitted},
		{killed: "order-srv's relay between publish and mark", run: diesPublished},
		{killed: "inventory-srv's consumer between confirm and ack", run: diesConfirmed},
		{killed: "inventory-srv's consumer between release and ack", run: diesReleased},
		{killed: "order-srv's consumer between EXPIRED and ack", run: diesExpired},
	}
}

func diesPending(t *testing.T, b crashBroker) string {
	cs := newCrashShop(t, b, setup{}, onlySweeper(), crash.OrderPending)
	no := cs.reach(crash.OrderPending)
	cs.died(cs.order, crash.OrderPending)
	cs.back(cs.order, nil)
	cs.becomes(no, orderapi.StatusAbandoned)
	cs.holds(no, "void")
	cs.stock(units, 0, 0)
	cs.healedBy("sweeper", cs.abandoned())
	cs.noted(no, "sweeper", "abandoned")
	if n := cs.metric(cs.order, "mq_checks_total"); n != 0 {
		t.Errorf("the broker asked %v times about a message that was never sent", n)
	}
	return "ABANDONED by the sweeper, tombstone"
}

func diesHalfSent(t *testing.T, b crashBroker) string {
	cs := newCrashShop(t, b, setup{}, onlyCheckBack(), crash.OrderHalfSent)
	no := cs.reach(crash.OrderHalfSent)
	cs.died(cs.order, crash.OrderHalfSent)
	cs.back(cs.order, nil)
	cs.becomes(no, orderapi.StatusAbandoned)
	cs.holds(no, "void")
	cs.stock(units, 0, 0)
	cs.healedBy("check-back", cs.abandoned())
	cs.noted(no, "check-back", "abandoned")
	return "ABANDONED by the check-back, tombstone"
}

func diesReserved(t *testing.T, b crashBroker) string {
	cs := newCrashShop(t, b, setup{}, onlyCheckBack(), crash.OrderReserved)
	no := cs.reach(crash.OrderReserved)
	cs.died(cs.order, crash.OrderReserved)
	if got := cs.reservation(no); got != "reserved" {
		t.Errorf("when order-srv died, its reservation was %q", got)
	}
	cs.back(cs.order, nil)
	cs.becomes(no, orderapi.StatusAbandoned)
	cs.holds(no, "released")
	cs.stock(units, 0, 0)
	cs.healedBy("check-back", cs.abandoned())
	cs.noted(no, "check-back", "abandoned")
	return "ABANDONED by the check-back, given back"
}

func diesRejected(t *testing.T, b crashBroker) string {
	cs := newCrashShop(t, b, setup{}, onlyCheckBack(), crash.OrderRejected)
	testkit.Eventually(cs.tb, patience, "an order is refused", func() error {
		_, err := cs.many("too-many", units+1)
		if err == nil && !crash.Reached(cs.marks, crash.OrderRejected) {
			return errors.New("the point is not reached")
		}
		return err
	})
	cs.died(cs.order, crash.OrderRejected)
	no := cs.orderOf("too-many")
	cs.back(cs.order, nil)
	cs.atLeast(1, cs.order, "mq_checks_total", `answer="rollback"`)
	cs.becomes(no, orderapi.StatusRejected)
	cs.holdsNothing(no)
	cs.stock(units, 0, 0)
	cs.healedBy("", 0)
	cs.noted(no, "check-back", "rolled back the message of")
	// A retry must get the answer that was never sent.
	if a, err := cs.many("too-many", units+1); err != nil || a.Status != http.StatusConflict || a.code() != "out_of_stock" {
		t.Errorf("the repeat was answered with %d %s, error %v", a.Status, a.Body, err)
	}
	return "REJECTED, the check-back rolls back"
}

func diesPlaced(t *testing.T, b crashBroker) string {
	cs := newCrashShop(t, b, setup{}, onlyCheckBack(), crash.OrderPlaced)
	no := cs.reach(crash.OrderPlaced)
	cs.died(cs.order, crash.OrderPlaced)
	cs.back(cs.order, nil)
	cs.atLeast(1, cs.order, "mq_checks_total", `answer="rollback"`)
	cs.becomes(no, orderapi.StatusPlaced)
	cs.holds(no, "reserved")
	cs.stock(units-1, 1, 0)
	cs.healedBy("", 0)
	cs.noted(no, "check-back", "rolled back the message of")
	cs.keys-- // the retry must get the answer that was never sent
	if again := cs.placed(); again.OrderNo != no {
		t.Errorf("who asks again is told of order %s, not %s", again.OrderNo, no)
	}
	return "PLACED, the check-back rolls back"
}

// diesAbandoned needs an order whose outcome is unknown, because a check-back decides only such orders: inventory-srv
// dies before it answers.
func diesAbandoned(t *testing.T, b crashBroker) string {
	cs := newCrashShop(t, b, setup{}, onlyCheckBack(), crash.InventoryCommitted, crash.OrderAbandoned)
	no := cs.reach(crash.InventoryCommitted)
	cs.died(cs.inventory, crash.InventoryCommitted)
	cs.died(cs.order, crash.OrderAbandoned)
	if got := cs.status(no); got != orderapi.StatusAbandoned {
		t.Errorf("when order-srv died, the order was %s", got)
	}
	cs.back(cs.inventory, nil)
	if got := cs.reservation(no); got != "reserved" {
		t.Errorf("before anybody asked again, the reservation was %q", got)
	}
	cs.back(cs.order, nil)
	cs.holds(no, "released")
	cs.atLeast(1, cs.order, "mq_checks_total", `answer="commit"`)
	cs.stock(units, 0, 0)
	cs.healedBy("", 0) // the process that died has abandoned the order
	cs.noted(no, "check-back", "abandoned")
	return "ABANDONED, given back by the next check"
}

// diesAbandonedReconciled lets the broker ignore every answer to its check-backs, so the message is never delivered.
func diesAbandonedReconciled(t *testing.T, b crashBroker) string {
	own := devBroker(t, "")
	t.Cleanup(func() { _ = own.Close() })
	settings := onlyReconciler()
	settings["SWEEP_AFTER"], settings["RECONCILE_AFTER"] = "20s", "21s" // the check-back must abandon, not the sweeper
	cs := newCrashShop(t, crashBroker{name: b.name, namesrv: own.Addr()}, setup{}, settings, crash.InventoryCommitted, crash.OrderAbandoned)
	no := cs.reach(crash.InventoryCommitted)
	own.LoseEnds(1000)
	cs.died(cs.inventory, crash.InventoryCommitted)
	cs.died(cs.order, crash.OrderAbandoned)
	cs.back(cs.inventory, nil)
	cs.back(cs.order, nil)
	cs.holds(no, "released")
	cs.becomes(no, orderapi.StatusAbandoned)
	cs.stock(units, 0, 0)
	cs.healedBy("reconciler", 1)
	cs.noted(no, "reconciler", "told inventory to release")
	return "ABANDONED, given back by the reconciler"
}

func diesDeducted(t *testing.T, b crashBroker) string {
	return inventoryDies(t, b, crash.InventoryDeducted)
}

func diesCommitted(t *testing.T, b crashBroker) string {
	return inventoryDies(t, b, crash.InventoryCommitted)
}

// inventoryDies kills inventory-srv while it reserves. It is back before order-srv times out, and the next attempt
// finds its state.
func inventoryDies(t *testing.T, b crashBroker, p crash.Point) string {
	cs := newCrashShop(t, b, setup{}, noHealer(), p)
	ordered := make(chan string, 1)
	go func() {
		_, no := cs.try()
		ordered <- no
	}()
	cs.died(cs.inventory, p)
	cs.back(cs.inventory, nil)
	no := <-ordered
	var status string
	testkit.Eventually(cs.tb, patience, "order "+no+" is decided", func() error {
		if status = cs.status(no); status != orderapi.StatusPlaced && status != orderapi.StatusAbandoned {
			return fmt.Errorf("it is %s", status)
		}
		return nil
	})
	if status == orderapi.StatusAbandoned { // the retry was late because the machine was busy
		if p == crash.InventoryCommitted {
			cs.holds(no, "released")
		} else {
			cs.holdsNothing(no) // there is no tombstone if the retry never reserved
		}
		cs.stock(units, 0, 0)
		return "ABANDONED by the check-back, given back: the retry was too late"
	}
	cs.holds(no, "reserved")
	cs.stock(units-1, 1, 0)
	cs.healedBy("", 0)
	return "PLACED by the retry, one reservation"
}

// diesPublished kills the relay after it has sent the payment's event. It is armed after the order was placed, because
// placing sends a message too.
func diesPublished(t *testing.T, b crashBroker) string {
	cs := newCrashShop(t, b, setup{}, noHealer())
	o := cs.placed()
	cs.sent()
	cs.stop(cs.order)
	cs.back(cs.order, cs.arm(crash.OrderPublished))
	_, err := cs.call(http.MethodPost, "/v1/orders/"+o.OrderNo+"/payment", cs.buyer, "")
	if err != nil {
		t.Fatal(err)
	}
	cs.died(cs.order, crash.OrderPublished)
	cs.atLeast(1, cs.inventory, "mq_handled_total", `topic="order-events"`)
	cs.back(cs.order, nil)
	cs.atLeast(2, cs.inventory, "mq_handled_total", `topic="order-events"`, `verdict="ack"`)
	cs.becomes(o.OrderNo, orderapi.StatusPaid)
	cs.holds(o.OrderNo, "confirmed")
	cs.stock(units-1, 0, 1)
	cs.healedBy("", 0)
	cs.noted(o.OrderNo, "relay", "sent the messages of")
	return "PAID, the event came twice, one unit sold"
}

func diesConfirmed(t *testing.T, b crashBroker) string {
	cs := newCrashShop(t, b, setup{}, noHealer(), crash.InventoryConfirmed)
	o := cs.placed()
	cs.do(o.OrderNo, "payment")
	cs.died(cs.inventory, crash.InventoryConfirmed)
	cs.back(cs.inventory, nil)
	cs.atLeast(1, cs.inventory, "mq_handled_total", `topic="order-events"`, `verdict="ack"`) // by the new process
	cs.becomes(o.OrderNo, orderapi.StatusPaid)
	cs.stock(units-1, 0, 1)
	cs.healedBy("", 0)
	return "PAID, the event came twice, one unit sold"
}

func diesReleased(t *testing.T, b crashBroker) string {
	cs := newCrashShop(t, b, setup{}, noHealer(), crash.InventoryReleased)
	o := cs.placed()
	cs.do(o.OrderNo, "cancellation")
	cs.died(cs.inventory, crash.InventoryReleased)
	cs.back(cs.inventory, nil)
	cs.atLeast(1, cs.inventory, "mq_handled_total", `topic="order-events"`, `verdict="ack"`)
	cs.becomes(o.OrderNo, orderapi.StatusCancelled)
	cs.stock(units, 0, 0)
	cs.healedBy("", 0)
	return "CANCELLED, the event came twice, given back once"
}

func diesExpired(t *testing.T, b crashBroker) string {
	cs := newCrashShop(t, b, setup{env: map[string]string{"PAYMENT_TIMEOUT": "7s", "REQUEST_TIMEOUT": "6s"}}, noHealer(), crash.OrderExpired)
	o := cs.placed()
	cs.died(cs.order, crash.OrderExpired)
	cs.back(cs.order, nil)
	cs.atLeast(1, cs.order, "mq_handled_total", `topic="order-timeout"`, `verdict="ack"`)
	cs.becomes(o.OrderNo, orderapi.StatusExpired)
	cs.holds(o.OrderNo, "released")
	cs.stock(units, 0, 0)
	cs.healedBy("", 0)
	return "EXPIRED, the message came twice, given back once"
}
