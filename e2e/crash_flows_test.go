package e2e_test

import (
	"fmt"
	"net/http"
	"testing"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/crash"
)

// flowPointRows are the rows in which a service dies in a flow whose orders wait for their decision. No row needs the
// healer of another one: what is not named is off, so an order whose healer did nothing would stay PENDING.
func flowPointRows() []crashRow {
	queue := func(d flowDeath) func(*testing.T, crashBroker) string { d.flow = "queue"; return d.run }
	outbox := func(d flowDeath) func(*testing.T, crashBroker) string { d.flow = "outbox"; return d.run }
	again := "the message comes again"
	return []crashRow{
		{killed: "queue: order-srv after PENDING, before the message", run: queue(flowDeath{point: crash.OrderPending, sweeps: true, by: "the sweeper sends the message"})},
		{killed: "queue: order-srv after the message, before its answer", run: queue(flowDeath{point: crash.OrderQueued, by: "a worker gets the message"})},
		{killed: "queue: a worker after reserve, before PLACED commits", run: queue(flowDeath{point: crash.OrderReserved, by: again})},
		{killed: "queue: a worker after PLACED, before ack", run: queue(flowDeath{point: crash.OrderPlaced, by: again})},
		{killed: "queue: a worker after REJECTED, before ack", run: queue(flowDeath{point: crash.OrderRejected, refused: true, by: again})},
		{killed: "outbox: order-srv after PENDING, before its answer", run: outbox(flowDeath{point: crash.OrderPending, by: "the relay sends the command"})},
		{killed: "outbox: order-srv's relay between publish and mark of a command", run: outbox(flowDeath{point: crash.OrderPublished, repeats: true, by: "the command comes twice"})},
		{killed: "outbox: inventory-srv before its commit", run: outbox(flowDeath{point: crash.InventoryDeducted, by: again})},
		{killed: "outbox: inventory-srv after its commit, before its answer is written", run: outbox(flowDeath{point: crash.InventoryCommitted, by: again})},
		{killed: "outbox: inventory-srv after its answer is written, before ack", run: outbox(flowDeath{point: crash.InventoryAnswered, repeats: true, by: again})},
		{killed: "outbox: inventory-srv's relay between publish and mark of an answer", run: outbox(flowDeath{point: crash.InventoryPublished, by: "the answer comes twice"})},
		{killed: "outbox: order-srv's consumer of answers before PLACED commits", run: outbox(flowDeath{point: crash.OrderReserved, by: again})},
		{killed: "outbox: order-srv's consumer of answers between PLACED and ack", run: outbox(flowDeath{point: crash.OrderPlaced, by: again})},
		{killed: "outbox: order-srv's consumer of answers between REJECTED and ack", run: outbox(flowDeath{point: crash.OrderRejected, refused: true, by: again})},
	}
}

// flowDeath kills the service of a point while it handles an order of a flow. All orders must be decided by what is
// named, and hold their units once.
type flowDeath struct {
	flow    string
	point   crash.Point
	refused bool   // the order asks for more than there is
	sweeps  bool   // the sweeper is on, and must have sent the message
	repeats bool   // inventory must have recognised a command that came twice
	by      string // who ends the order
}

func (d flowDeath) run(t *testing.T, b crashBroker) string {
	settings := noHealer()
	if d.sweeps {
		settings = onlySweeper()
	}
	settings["ORDER_FLOW"], settings["QUEUE_TIMEOUT"] = d.flow, "1h" // longer than the test: no order is abandoned
	cs := newCrashShop(t, b, setup{strategy: "conditional"}, settings, d.point)
	quantity := 1
	if d.refused {
		quantity = units + 1
	}
	testkit.Eventually(cs.tb, patience, "an order comes to "+string(d.point), func() error {
		if crash.Reached(cs.marks, d.point) {
			return nil
		}
		// One order after the other: one that is being inserted when another has the process die would be another case.
		if pending := cs.byFlow(orderapi.StatusPending); len(pending) > 0 {
			return fmt.Errorf("pending: %v", pending)
		}
		cs.keys++
		a, err := cs.many(fmt.Sprintf("key-%d", cs.keys), quantity)
		if err == nil && !crash.Reached(cs.marks, d.point) {
			err = fmt.Errorf("an order was answered with %d %s", a.Status, a.Body)
		}
		return err
	})
	victim := cs.order
	if d.point.Service() == "inventory-srv" {
		victim = cs.inventory
	}
	cs.died(victim, d.point)
	cs.back(victim, nil)
	testkit.Eventually(cs.tb, patience, "all orders are decided", func() error {
		if pending := cs.byFlow(orderapi.StatusPending); len(pending) > 0 {
			return fmt.Errorf("pending: %v", pending)
		}
		return nil
	})
	return d.became(t, cs)
}

// became checks the ends of the orders and who has healed them.
func (d flowDeath) became(t *testing.T, cs *crashShop) string {
	ends := cs.ends(d.flow)
	want, other := orderapi.StatusPlaced, orderapi.StatusAbandoned
	if d.refused {
		want, other = orderapi.StatusRejected, orderapi.StatusPlaced
	}
	if ends[want] == 0 || ends[other] > 0 || ends[orderapi.StatusAbandoned] > 0 {
		t.Errorf("orders by status %v, want all %s", ends, want)
	}
	placed := int64(ends[orderapi.StatusPlaced])
	cs.stock(units-placed, placed, 0)
	cs.healedBy("", 0)
	switch {
	case d.sweeps:
		testkit.EventuallyTrue(t, patience, "the sweeper has sent the message", func() bool {
			return cs.shop.metric(cs.order, "order_queue_resent_total") > 0 // it has no labels
		})
	case d.flow == "queue":
		if n := cs.shop.metric(cs.order, "order_queue_resent_total"); n != 0 {
			t.Errorf("the sweeper has sent %d orders again", n)
		}
	}
	if d.repeats {
		cs.atLeast(1, cs.inventory, "stock_reserve_messages_total", `outcome="repeated"`)
	}
	if d.refused {
		a, err := cs.many("key-1", units+1)
		if err != nil || a.Status != http.StatusConflict || a.code() != "out_of_stock" {
			t.Errorf("the repeat was answered with %d %s, error %v", a.Status, a.Body, err)
		}
	}
	return want + ", " + d.by
}
