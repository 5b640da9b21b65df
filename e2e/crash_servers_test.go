package e2e_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/crash"
)

// serverRows are the rows in which a server dies or a service is stopped.
func serverRows() []crashRow {
	return []crashRow{
		{killed: "the broker, its disk lost, before the events of ended orders were sent", run: diskLostBefore},
		{killed: "the broker, its disk lost, after the events of ended orders were sent", run: diskLostAfter},
		{killed: "MySQL in COMMIT", run: mysqlKilled},
		{killed: "inventory-srv stopped while it holds the stock row", run: inventoryStopped},
	}
}

// ownBroker is a broker that a test may kill.
type ownBroker struct {
	crashBroker
	kill     func()
	loseDisk func() // kills it and starts it at the same address without its data

	stop, resume func() // kills it, and starts it again with its data
}

func newOwnBroker(t *testing.T, b crashBroker) ownBroker {
	t.Helper()
	if !b.real {
		dev := devBroker(t, "")
		kill := func() {
			if err := dev.Close(); err != nil {
				t.Error(err)
			}
		}
		t.Cleanup(func() { kill() }) // kills the current process, after the services have stopped
		check := func(err error) {
			if err != nil {
				t.Error(err)
			}
		}
		return ownBroker{
			crashBroker: crashBroker{name: b.name, namesrv: dev.Addr()}, kill: kill,
			loseDisk: func() {
				kill()
				dev = devBroker(t, dev.Addr())
			},
			stop: func() { check(dev.Kill(t.Context())) }, resume: func() { check(dev.Restart(t.Context())) },
		}
	}
	r := stacktest.OwnRocketMQ(t)
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	start := func(how func(context.Context) error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		must(how(ctx))
	}
	kill := func() { must(r.Kill(t.Context())) }
	return ownBroker{
		crashBroker: crashBroker{name: b.name, namesrv: r.NamesrvAddr, real: true},
		kill:        kill, loseDisk: func() { start(r.RestartEmpty) },
		stop: kill, resume: func() { start(r.Restart) },
	}
}

// short lets an order expire soon, but after two others have ended, also when each of them takes seconds.
func short() setup { return setup{env: map[string]string{"PAYMENT_TIMEOUT": "20s"}} }

// diskLostBefore ends three orders while the broker is down, so their events are in the outbox. The broker comes back
// empty. The running services create their topics again and read the new store from its beginning.
func diskLostBefore(t *testing.T, b crashBroker) string {
	own := newOwnBroker(t, b)
	cs := newCrashShop(t, own.crashBroker, short(), onlySweeper())
	paid, cancelled, unpaid := cs.placed(), cs.placed(), cs.placed()
	cs.sent()
	own.kill()
	cs.do(paid.OrderNo, "payment")
	cs.do(cancelled.OrderNo, "cancellation")
	cs.becomes(unpaid.OrderNo, orderapi.StatusExpired) // by the sweeper, because the delayed message is lost
	cs.healedBy("sweeper", 1)
	own.loseDisk()
	cs.endedRight(paid, cancelled, unpaid)
	cs.healedBy("sweeper", 1)
	return "sent from the outbox to the new broker"
}

// diskLostAfter ends three orders while inventory-srv is down. The broker stores the events and loses them.
func diskLostAfter(t *testing.T, b crashBroker) string {
	own := newOwnBroker(t, b)
	cs := newCrashShop(t, own.crashBroker, short(), onlyReconciler())
	paid, cancelled, unpaid := cs.placed(), cs.placed(), cs.placed()
	if err := cs.inventory.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-cs.inventory.gone
	cs.do(paid.OrderNo, "payment")
	cs.do(cancelled.OrderNo, "cancellation")
	cs.becomes(unpaid.OrderNo, orderapi.StatusExpired)
	cs.sent()
	own.loseDisk()
	cs.back(cs.inventory, nil)
	cs.endedRight(paid, cancelled, unpaid)
	cs.healedBy("reconciler", 3)
	cs.noted(paid.OrderNo, "reconciler", "told inventory to confirm")
	cs.noted(unpaid.OrderNo, "reconciler", "told inventory to release")
	return "reconciled: 1 confirmed, 2 released"
}

func (cs *crashShop) endedRight(paid, cancelled, unpaid orderapi.Order) {
	cs.tb.Helper()
	cs.holds(paid.OrderNo, "confirmed")
	cs.holds(cancelled.OrderNo, "released")
	cs.holds(unpaid.OrderNo, "released")
	cs.stock(units-1, 0, 1)
}

// mysqlKilled kills a MySQL of the test after it received a COMMIT, and after it executed a COMMIT whose answer was
// lost, for each of the two COMMITs that decide an order. The server decides at its restart whether the transaction
// took place, and all services must find the same.
func mysqlKilled(t *testing.T, b crashBroker) string {
	o := stack.Options{Tie: true, Dir: t.TempDir()}
	m := startMySQL(t, o)
	if m == nil {
		return ""
	}
	t.Cleanup(func() { _ = m.Process.Kill() }) // kills the current process, after the services have stopped
	o.Port = m.port
	p := &commitProxy{tb: t}
	cs := newCrashShop(t, b, setup{server: m.AdminDSN(), mysql: p.via}, onlyCheckBack())
	for _, db := range []interface{ SetMaxIdleConns(int) }{cs.ordersDB, cs.stockDB} {
		db.SetMaxIdleConns(0) // each query of the test uses a connection opened after the server's restart
	}
	became := map[string]int{}
	for _, commit := range []string{commitOfReservation, commitOfPlaced} {
		for _, executed := range []bool{false, true} {
			killed := p.onCommit(commit, func(send, wait func()) {
				send()
				if executed {
					wait()
				}
				if err := m.Process.Kill(); err != nil {
					t.Error(err)
				}
				m = startMySQL(t, o)
			})
			cs.keys++
			key := fmt.Sprintf("key-%d", cs.keys)
			a, err := cs.place(cs.buyer, key, cs.sku)
			if err != nil {
				t.Fatal(err)
			}
			within(t, killed, "MySQL dies in a COMMIT")
			cs.audit(patience)
			no := cs.orderOf(key)
			status := cs.status(no)
			became[status]++
			if a.Status == http.StatusCreated && status != orderapi.StatusPlaced {
				t.Errorf("the buyer was told %s, and the order is %s", a.Body, status)
			}
			if holds := cs.reservation(no) == "reserved"; holds != (status == orderapi.StatusPlaced) {
				t.Errorf("the order is %s, its reservation %q", status, cs.reservation(no))
			}
			t.Logf("killed in the COMMIT of %q, executed %v: answered %d, the order is %s", commit, executed, a.Status, status)
		}
	}
	return fmt.Sprintf("4 times, one truth: PLACED %d, ABANDONED %d", became[orderapi.StatusPlaced], became[orderapi.StatusAbandoned])
}

// inventoryStopped stops one of two inventory-srv processes after it has changed and locked the stock row. The
// database ends the session after wait_timeout, 10 s without a statement.
func inventoryStopped(t *testing.T, b crashBroker) string {
	ports, err := stack.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	second := &service{name: "inventory-srv", http: fmt.Sprintf("127.0.0.1:%d", ports[0]), ops: fmt.Sprintf("127.0.0.1:%d", ports[1]), log: &testkit.Buffer{}}
	cs := newCrashShop(t, b, setup{
		strategy: "for-update", // its only lock is the row lock
		env:      map[string]string{crash.EnvStop: "true"},
		inventory: func(first string) string {
			return first + ",http://" + second.http
		},
	}, onlyCheckBack(), crash.InventoryDeducted)
	second.program, second.env = cs.inventory.program, append(cs.inventory.env, environ(map[string]string{
		"HTTP_ADDR": second.http, "OPS_ADDR": second.ops, "INSTANCE_ID": "inventory-2",
	})...)
	cs.run(second)
	t.Cleanup(func() { cs.stop(second) })
	cs.waitReady(second)

	both := []*service{cs.inventory, second}
	goOn := func() {
		for _, s := range both {
			_ = stack.Thaw(s.cmd.Process)
		}
	}
	t.Cleanup(goOn) // a stopped process cannot handle SIGTERM
	no := cs.reach(crash.InventoryDeducted)
	stopped := crash.ReachedAt(cs.marks, crash.InventoryDeducted)
	testkit.Eventually(cs.tb, patience, "others buy while it stands still", func() error {
		if a, _ := cs.try(); a.Status != http.StatusCreated {
			return fmt.Errorf("answered with %d %s", a.Status, a.Body)
		}
		return nil
	})
	waited := time.Since(stopped)
	if waited < 8*time.Second {
		t.Errorf("others bought again after %v: it held nothing, or let it go by itself", waited)
	}
	goOn()
	for _, s := range both {
		cs.waitReady(s)
	}
	r := cs.audit(patience)
	if got := r.SKUs[0].Reserved; got != int64(r.Orders[orderapi.StatusPlaced]) {
		t.Errorf("%d units are reserved for %d placed orders", got, r.Orders[orderapi.StatusPlaced])
	}
	return fmt.Sprintf("its order is %s; others bought again after %.0f s, while it stood still", cs.status(no), waited.Seconds())
}

// ownMySQL is a MySQL that a test may kill.
type ownMySQL struct {
	*stack.MySQL
	port int
}

// startMySQL starts it, also again on the same port and data. It is called from goroutines other than the test's.
func startMySQL(t *testing.T, o stack.Options) *ownMySQL {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := stack.StartMySQL(ctx, o)
	if err != nil {
		t.Errorf("start a MySQL of the test's own: %v", err)
		return nil
	}
	_, port, err := net.SplitHostPort(m.Addr)
	if err != nil {
		t.Error(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Error(err)
	}
	return &ownMySQL{m, n}
}
