package e2e_test

import (
	"fmt"
	"testing"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/crash"
)

// xaRows are the rows in which order-srv or inventory-srv dies between the steps of a two-phase commit.
func xaRows() []crashRow {
	row := func(killed string, d xaDeath) crashRow { return crashRow{killed: "xa: " + killed, run: d.run} }
	aborted := func(p crash.Point) xaDeath {
		return xaDeath{point: p, status: orderapi.StatusAbandoned, stock: "void"}
	}
	committed := func(p crash.Point) xaDeath {
		return xaDeath{point: p, status: orderapi.StatusPlaced, stock: "reserved"}
	}
	return []crashRow{
		row("order-srv after inventory's PREPARE", aborted(crash.OrderXAPreparedInventory)),
		row("order-srv after both PREPAREs", aborted(crash.OrderXAPreparedBoth)),
		row("order-srv after the decision", committed(crash.OrderXADecided)),
		row("order-srv after inventory's COMMIT", committed(crash.OrderXACommittedInventory)),
		row("inventory-srv after its PREPARE, before its answer", committed(crash.InventoryBranchPrepared).byRequest()),
		row("inventory-srv after its COMMIT, before its answer", committed(crash.InventoryBranchCommitted).byEither()),
	}
}

// xaDeath kills a process at a point of the flow xa. The order must end as is said, with no branch left.
type xaDeath struct {
	point   crash.Point
	status  string
	stock   string
	request bool // the request goes on until the process is back, and ends the order
	either  bool // the request or the recovery ends the order, whichever is first
}

func (d xaDeath) byRequest() xaDeath {
	d.request = true
	return d
}

func (d xaDeath) byEither() xaDeath {
	d.either = true
	return d
}

func (d xaDeath) run(t *testing.T, b crashBroker) string {
	settings := onlySweeper()
	if d.request || d.either {
		settings = noHealer()
	}
	settings["ORDER_FLOW"] = "xa"
	cs := newCrashShop(t, b, setup{strategy: "conditional"}, settings, d.point)
	victim := cs.order
	var no string
	if d.point.Service() == "inventory-srv" {
		victim = cs.inventory
		ordered := make(chan string, 1)
		go func() {
			_, no := cs.try()
			ordered <- no
		}()
		cs.died(victim, d.point)
		cs.back(victim, nil)
		no = <-ordered
	} else {
		no = cs.reach(d.point)
		cs.died(victim, d.point)
		cs.back(victim, nil)
	}
	cs.becomes(no, d.status)
	cs.holds(no, d.stock)
	testkit.Eventually(t, patience, "no branch is left and the log is done", func() error {
		var open int
		if err := cs.ordersDB.QueryRow("SELECT COUNT(*) FROM xa_log WHERE state <> 'done'").Scan(&open); err != nil || open > 0 {
			return fmt.Errorf("%d orders are open, error %w", open, err)
		}
		return nil
	})
	if d.status == orderapi.StatusPlaced {
		cs.stock(units-1, 1, 0)
	} else {
		cs.stock(units, 0, 0)
	}
	switch {
	case d.request:
		cs.healedBy("", 0)
		return d.status
	case d.either:
		return d.status
	}
	cs.noted(no, "xa-recovery", "ended the branches of")
	return d.status + ", by the xa-recovery"
}
