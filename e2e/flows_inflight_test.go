package e2e_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/mq/devbroker"
)

// faults is what stands between the services and can be told to fail: a wire in front of each inventory-srv, and the
// broker.
type faults struct {
	tb     testing.TB
	sh     *shop
	wires  []*wire
	broker *devbroker.Broker
}

// via is a value for setup.inventory.
func (x *faults) via(addr string) string {
	w := &wire{tb: x.tb}
	x.wires = append(x.wires, w)
	return w.via(addr)
}

func (x *faults) onReserve(f func(w http.ResponseWriter, send func() *http.Response)) {
	for _, w := range x.wires {
		w.onReserve(f)
	}
}

// heal ends all faults.
func (x *faults) heal() {
	x.onReserve(nil)
	x.broker.Heal()
}

// many is more messages than a case sends.
const many = 100_000

// slowWire delays the calls that reserve, by less than order-srv waits for an answer.
func slowWire(x *faults) {
	x.onReserve(func(w http.ResponseWriter, send func() *http.Response) {
		time.Sleep(time.Second)
		answerWith(w, send())
	})
}

// slowMessage delays the messages of a topic.
func slowMessage(topic string) func(x *faults) {
	return func(x *faults) { x.broker.Delay(x.sh.topic(topic), many, 2*time.Second) }
}

// loseMessages loses the messages of a topic that the broker gets.
func loseMessages(topic string) func(x *faults) {
	return func(x *faults) { x.broker.Drop(x.sh.topic(topic), many) }
}

// loseReservations loses the answers to calls that reserve.
func loseReservations(x *faults) {
	x.onReserve(func(_ http.ResponseWriter, send func() *http.Response) {
		_ = send().Body.Close()
		panic(http.ErrAbortHandler)
	})
}

// inFlightTimeout is how long an order may wait in the cases that stop one in the middle.
const inFlightTimeout = 15 * time.Second

// inFlightCases are the cases that stop an order in the middle.
func inFlightCases(t *testing.T, s *flowSuite, b crashBroker) {
	broker := devBroker(t, "")
	t.Cleanup(func() { _ = broker.Close() })
	x := &faults{tb: t, broker: broker}
	sh := newShop(t, setup{strategy: "conditional", replicas: 2, wallet: true, namesrv: broker.Addr(), inventory: x.via, env: quick(inFlightTimeout)})
	x.sh = sh
	repliesLost(t, s, sh, b, x)
	flowsChange(t, s, sh, b, x)
	sh.noLies(sh.audit(patience))
}

// repliesLost has inventory reserve for an order of each flow, and loses what it answers. The order ends as its flow
// says, and holds its unit only if it is placed.
func repliesLost(t *testing.T, s *flowSuite, sh *shop, b crashBroker, x *faults) {
	for _, row := range flowRows() {
		row.noReply(x)
	}
	var taken sync.WaitGroup // the faults end when each flow has taken its order and inventory has reserved it
	for _, row := range flowRows() {
		if _, lacks := row.lacks[caseReply]; !lacks {
			taken.Add(1)
		}
	}
	var healing sync.Once
	s.each(t, sh, b, caseReply, func(t *testing.T, f *flowShop) string {
		once := sync.OnceFunc(taken.Done)
		defer once() // also if the test fails
		f.stock(f.sku("LOST"), 5)
		token := f.login(f.flow.name+"-lost", "buyer")
		a, err := f.order(token, "lost-"+f.flow.name, one(f.sku("LOST"), 1))
		if err != nil || a.Status != f.flow.replyLost.answer {
			t.Fatalf("answered with %d %s, error %v; want %d", a.Status, a.Body, err, f.flow.replyLost.answer)
		}
		orderNo := a.order(t).OrderNo
		cs := &crashShop{shop: f.shop}
		cs.holds(orderNo, "reserved")
		if f.flow.replySent != "" {
			testkit.Eventually(t, patience, "inventory has sent its answer", func() error {
				var n int
				if err := f.stockDB.QueryRow(f.flow.replySent, orderNo).Scan(&n); err != nil || n == 1 {
					return err
				}
				return errors.New("it is in the outbox")
			})
		}
		once()
		taken.Wait()
		healing.Do(x.heal)
		cs.becomes(orderNo, f.flow.replyLost.ends)
		if f.flow.replyLost.ends == orderapi.StatusPlaced {
			cs.holds(orderNo, "reserved")
		} else {
			cs.holds(orderNo, "released")
		}
		return f.flow.replyLost.ends
	})
	sh.audit(patience)
}

// flowsChange kills both replicas of order-srv while orders of all flows are in flight, and starts them with another
// flow, until each flow was the configured one. Every order must end by the rules of the flow that took it.
func flowsChange(t *testing.T, s *flowSuite, sh *shop, b crashBroker, x *faults) {
	rows := flowRows()
	var tokens []string
	for _, row := range rows {
		f := &flowShop{shop: sh, flow: row}
		f.stock(f.sku("CHANGE"), 1000)
		tokens = append(tokens, f.login(row.name+"-change", "buyer"))
	}
	inFlight := map[string]map[string]bool{} // orders by flow
	for n, next := range rows {
		t.Run(caseRestart+"/to "+next.name, func(t *testing.T) {
			sh := sh.on(t)
			for _, row := range rows {
				row.slow(x)
			}
			placing := sh.startOrders(tokens, fmt.Sprint("change-", n))
			defer placing.Wait()
			testkit.Eventually(t, patience, "orders of all flows are in flight", func() error {
				if pending := sh.byFlow(orderapi.StatusPending); len(pending) < len(rows) {
					return fmt.Errorf("pending: %v", pending)
				}
				return nil
			})
			for _, svc := range sh.orders {
				sh.kill(svc)
			}
			sh.pending(inFlight)
			for _, svc := range sh.orders {
				svc.env = append(svc.env, "ORDER_FLOW="+next.name)
			}
			x.heal()
			for _, svc := range sh.orders {
				sh.restart(svc)
			}
			sh.placesThrough(tokens[0], next, fmt.Sprint("default-", n), "CHANGE")
		})
	}
	if t.Failed() {
		t.FailNow()
	}
	sh.audit(patience)
	for _, row := range rows {
		if len(inFlight[row.name]) == 0 {
			t.Errorf("no order of %s was in flight: that proves nothing", row.name)
		}
		sh.endedByItsRule(row, inFlight[row.name])
		s.put(t, b, caseRestart, row.name, fmt.Sprintf("%d in flight when it was killed; of all %s", len(inFlight[row.name]), countsOf(sh.ends(row.name))))
	}
}

// endedByItsRule checks how the orders of a flow have ended: those in flight as the flow's row says, and the others
// placed or rejected, as order-srv was just starting. A busy machine may be too slow for an order: one that may wait is
// abandoned when its time is up, and one of tx-message when its answer does not come.
func (sh *shop) endedByItsRule(row flowRow, inFlight map[string]bool) {
	sh.tb.Helper()
	statement := "SELECT order_no, status, TIMESTAMPDIFF(MICROSECOND, created_at, updated_at) FROM orders WHERE flow = '" + row.name + "'"
	sh.each(sh.ordersDB, statement, func(scan func(...any) error) error {
		var orderNo, status string
		var micros int64
		if err := scan(&orderNo, &status, &micros); err != nil {
			return err
		}
		waited := time.Duration(micros) * time.Microsecond
		timedOut := status == orderapi.StatusAbandoned && row.inFlight == orderapi.StatusPlaced && waited >= inFlightTimeout
		switch {
		case timedOut:
		case inFlight[orderNo] && status != row.inFlight && status != row.decided:
			sh.tb.Errorf("%s: order %s was in flight and is %s after %v, want %s", row.name, orderNo, status, waited, row.inFlight)
		case !inFlight[orderNo] && !slices.Contains([]string{orderapi.StatusPlaced, orderapi.StatusRejected, row.inFlight}, status):
			sh.tb.Errorf("%s: order %s is %s, want it placed or rejected", row.name, orderNo, status)
		}
		return nil
	})
}

// startOrders sends four requests through each flow. Their answers may be lost with the process; the history has
// recorded the requests.
func (sh *shop) startOrders(tokens []string, key string) *sync.WaitGroup {
	var placing sync.WaitGroup
	for i, row := range flowRows() {
		f := &flowShop{shop: sh, flow: row}
		for k := range 4 {
			placing.Go(func() {
				_, _ = f.order(tokens[i], fmt.Sprintf("%s-%s-%d", key, row.name, k), one(f.sku("CHANGE"), 1))
			})
		}
	}
	return &placing
}

// pending adds the orders that are PENDING, by flow.
func (sh *shop) pending(found map[string]map[string]bool) {
	sh.tb.Helper()
	sh.each(sh.ordersDB, "SELECT flow, order_no FROM orders WHERE status = 'PENDING'", func(scan func(...any) error) error {
		var flow, orderNo string
		err := scan(&flow, &orderNo)
		if found[flow] == nil {
			found[flow] = map[string]bool{}
		}
		found[flow][orderNo] = true
		return err
	})
}

// placesThrough places an order that names no flow, and checks that the configured one took it.
func (sh *shop) placesThrough(token string, want flowRow, key, sku string) {
	sh.tb.Helper()
	f := &flowShop{shop: sh, flow: want}
	testkit.Eventually(sh.tb, patience, "an order is taken by "+want.name, func() error {
		a, err := sh.place(token, key, f.sku(sku))
		if err == nil && a.Status != http.StatusCreated && a.Status != http.StatusAccepted {
			err = fmt.Errorf("answered with %d %s", a.Status, a.Body)
		}
		return err
	})
	orderNo, err := sh.numberOf(key)
	if err != nil {
		sh.tb.Fatal(err)
	}
	var got string
	if err := sh.ordersDB.QueryRow("SELECT flow FROM orders WHERE order_no = ?", orderNo).Scan(&got); err != nil || got != want.name {
		sh.tb.Errorf("an order that names no flow was taken by %s, error %v; want %s", got, err, want.name)
	}
}

// byFlow counts the orders with a status.
func (sh *shop) byFlow(status string) map[string]int {
	sh.tb.Helper()
	return sh.counts("SELECT flow, COUNT(*) FROM orders WHERE status = '" + status + "' GROUP BY flow")
}

// ends counts the orders of a flow by status.
func (sh *shop) ends(flow string) map[string]int {
	sh.tb.Helper()
	return sh.counts("SELECT status, COUNT(*) FROM orders WHERE flow = '" + flow + "' GROUP BY status")
}

func (sh *shop) counts(statement string) map[string]int {
	sh.tb.Helper()
	counts := map[string]int{}
	sh.each(sh.ordersDB, statement, func(scan func(...any) error) error {
		var name string
		var n int
		err := scan(&name, &n)
		counts[name] = n
		return err
	})
	return counts
}

func countsOf(counts map[string]int) string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		texts = append(texts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(texts, ", ")
}
