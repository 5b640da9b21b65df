package e2e_test

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
	"holdfast/order-srv/walletapi"
	"holdfast/pkg/crash"
)

// tccRows are the rows in which order-srv or the wallet dies while an order of the flow tcc is tried, confirmed or
// cancelled.
func tccRows() []crashRow {
	row := func(killed string, d tccDeath) crashRow { return crashRow{killed: "tcc: " + killed, run: d.run} }
	const pay, cancel = "payment", "cancellation"
	abandoned := func(p crash.Point, stock, money string) tccDeath {
		return tccDeath{point: p, status: orderapi.StatusAbandoned, stock: stock, money: money, healer: "sweeper", action: "abandoned"}
	}
	paid := func(p crash.Point) tccDeath {
		return tccDeath{point: p, end: pay, status: orderapi.StatusPaid, stock: "confirmed", money: walletapi.StateConfirmed, healer: "coordinator", action: "repeated the phase of"}
	}
	cancelled := func(p crash.Point) tccDeath {
		return tccDeath{point: p, end: cancel, status: orderapi.StatusCancelled, stock: "released", money: walletapi.StateCancelled, healer: "coordinator", action: "repeated the phase of"}
	}
	placed := tccDeath{status: orderapi.StatusPlaced, stock: "reserved", money: walletapi.StateFrozen}
	answered, frozen := placed, placed
	answered.point, frozen.point = crash.OrderPlaced, crash.WalletFrozen
	return []crashRow{
		row("order-srv after PENDING, before reserve", abandoned(crash.OrderPending, "void", walletapi.StateVoid)),
		row("order-srv after reserve, before the freeze", abandoned(crash.OrderStockTried, "released", walletapi.StateVoid)),
		row("order-srv after the freeze, before PLACED commits", abandoned(crash.OrderFrozen, "released", walletapi.StateCancelled)),
		row("order-srv after PLACED, before its answer", answered),
		row("order-srv after PAID, before the confirmation", paid(crash.OrderConfirming)),
		row("order-srv after the confirmation, before the log", paid(crash.OrderPhaseDone)),
		row("order-srv after CANCELLED, before the cancellation", cancelled(crash.OrderCancelling)),
		row("the wallet after the freeze, before its answer", frozen),
		row("the wallet after the confirmation, before its answer", paid(crash.WalletConfirmed)),
		row("the wallet after the cancellation, before its answer", cancelled(crash.WalletCancelled)),
	}
}

// tccDeath kills a process at a point of the flow tcc. The order must end with both participants as is said, by what is
// named alone.
type tccDeath struct {
	point  crash.Point
	end    string // how the buyer ends the order; "": the process dies while the order is placed
	status string
	stock  string // the reservation
	money  string // the freeze
	healer string // "": nothing heals
	action string
}

func (d tccDeath) run(t *testing.T, b crashBroker) string {
	settings := noHealer()
	if d.healer == "sweeper" {
		settings = onlySweeper()
	}
	settings["ORDER_FLOW"] = "tcc"
	cs := newCrashShop(t, b, setup{strategy: "conditional", wallet: true}, settings, d.point)
	victim := cs.order
	if d.point.Service() == "wallet" {
		victim = cs.wallets[0]
	}
	no := d.toDeath(cs, victim)
	cs.becomes(no, d.status)
	cs.holds(no, d.stock)
	cs.money(no, d.money)
	left := map[string][3]int64{
		"reserved": {units - 1, 1, 0}, "confirmed": {units - 1, 0, 1},
	}[d.stock]
	if left == [3]int64{} {
		left[0] = units
	}
	cs.audit(patience) // of the wallets, too
	cs.stock(left[0], left[1], left[2])
	switch d.healer {
	case "":
		cs.healedBy("", 0)
		return d.status
	case "sweeper":
		cs.healedBy(d.healer, cs.abandoned())
	default:
		cs.healedBy(d.healer, 1)
	}
	cs.noted(no, d.healer, d.action)
	return d.status + ", by the " + d.healer
}

// toDeath has an order come to the point, and starts the process that has died there again.
func (d tccDeath) toDeath(cs *crashShop, victim *service) (orderNo string) {
	cs.tb.Helper()
	if d.end != "" {
		o := cs.placed()
		cs.do(o.OrderNo, d.end)
		cs.died(victim, d.point)
		cs.back(victim, nil)
		return o.OrderNo
	}
	if d.point.Service() == "wallet" { // the request goes on until the wallet is back
		ordered := make(chan string, 1)
		go func() {
			_, no := cs.try()
			ordered <- no
		}()
		cs.died(victim, d.point)
		cs.back(victim, nil)
		return <-ordered
	}
	no := cs.reach(d.point)
	cs.died(victim, d.point)
	cs.back(victim, nil)
	return no
}

// money waits until the wallet has the order's money in the state.
func (cs *crashShop) money(orderNo, want string) {
	cs.tb.Helper()
	testkit.Eventually(cs.tb, patience, "the money of "+orderNo+" is "+want, func() error {
		var state string
		err := cs.walletDB.QueryRow("SELECT state FROM freezes WHERE order_no = ?", orderNo).Scan(&state)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if state != want {
			return fmt.Errorf("it is %q", state)
		}
		return nil
	})
}
