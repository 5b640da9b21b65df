package e2e_test

import (
	"bufio"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/crash"
)

// patience bounds every wait of a crash test. Other tests may load the machine, and an ordered queue whose lock was
// lost with its broker may be blocked for a minute.
const patience = 3 * time.Minute

// The settings below choose the healers that work. The other healers wait for an hour; the order of the timers is
// kept. An order is placed within one or two seconds; the rest of each time is for a busy machine.
func onlyCheckBack() map[string]string {
	return map[string]string{"REQUEST_TIMEOUT": "6s", "PENDING_GRACE": "7s", "SWEEP_AFTER": "1h", "RECONCILE_AFTER": "2h"}
}

func onlySweeper() map[string]string { // the check-back stays on: the broker has no message to check
	return map[string]string{"REQUEST_TIMEOUT": "6s", "PENDING_GRACE": "7s", "SWEEP_AFTER": "8s", "RECONCILE_AFTER": "1h"}
}

func onlyReconciler() map[string]string { // the sweeper runs first, but it does not handle ended orders
	return map[string]string{"REQUEST_TIMEOUT": "6s", "PENDING_GRACE": "7s", "SWEEP_AFTER": "8s", "RECONCILE_AFTER": "9s"}
}

func noHealer() map[string]string { // deadlines are long, so that a killed service is back before they end
	return map[string]string{"REQUEST_TIMEOUT": "30s", "PENDING_GRACE": "40s", "BROKER_TRANSACTION_TIMEOUT": "40s", "SWEEP_AFTER": "1h", "RECONCILE_AFTER": "2h"}
}

// crashShop is a shop whose services die on demand.
type crashShop struct {
	*shop
	sku   string // unique: the shops share a Redis, and a lease outlives the process that held it
	marks string // folder in which a crash point leaves a file when it is reached
	buyer string // token
	keys  int
}

// units is the stock of a crash test.
const units = 500

// newCrashShop starts a shop on the broker with some points armed and the given settings.
func newCrashShop(tb testing.TB, b crashBroker, s setup, settings map[string]string, armed ...crash.Point) *crashShop {
	tb.Helper()
	cs := &crashShop{sku: "CRASH-" + rand.Text(), marks: tb.TempDir()}
	s.crash, s.namesrv = true, b.namesrv
	env := map[string]string{"SETTLE_AFTER": "500ms"}
	maps.Copy(env, settings)
	maps.Copy(env, s.env)
	maps.Copy(env, cs.arm(armed...))
	s.env = env
	cs.shop = newShop(tb, s)
	cs.product(cs.sku, units)
	cs.buyer = cs.login("ann", "buyer")
	return cs
}

// arm returns the environment that arms the points.
func (cs *crashShop) arm(points ...crash.Point) map[string]string {
	var names []string
	for _, p := range points {
		names = append(names, string(p))
	}
	return map[string]string{crash.EnvAt: strings.Join(names, ","), crash.EnvMarks: cs.marks}
}

// reach places orders until a process has reached the point, and returns the last order. One order is sufficient
// unless a busy machine refuses it earlier.
func (cs *crashShop) reach(p crash.Point) (orderNo string) {
	cs.tb.Helper()
	testkit.Eventually(cs.tb, patience, "an order comes to "+string(p), func() error {
		a, no := cs.try()
		orderNo = no
		if !crash.Reached(cs.marks, p) {
			return fmt.Errorf("order %s was answered with %d %s", no, a.Status, a.Body)
		}
		return nil
	})
	return orderNo
}

// try places one order and ignores its result. orderNo is empty if the order was not inserted.
func (cs *crashShop) try() (a answer, orderNo string) {
	cs.tb.Helper()
	cs.keys++
	key := fmt.Sprintf("key-%d", cs.keys)
	a, err := cs.place(cs.buyer, key, cs.sku)
	if err != nil {
		cs.tb.Errorf("the gateway does not answer: %v", err)
	}
	return a, cs.orderOf(key)
}

// many orders more than one unit.
func (cs *crashShop) many(key string, n int) (answer, error) {
	return cs.call(http.MethodPost, "/v1/orders", cs.buyer, fmt.Sprintf(`{"items":[{"sku":%q,"quantity":%d}]}`, cs.sku, n), "Idempotency-Key", key)
}

func (cs *crashShop) orderOf(key string) (orderNo string) {
	err := cs.ordersDB.QueryRow("SELECT order_no FROM orders WHERE idempotency_key = ?", key).Scan(&orderNo)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		cs.tb.Errorf("look for the order with key %s: %v", key, err)
	}
	return orderNo
}

// placed places an order and requires success.
func (cs *crashShop) placed() orderapi.Order {
	cs.tb.Helper()
	cs.keys++
	return cs.mustPlace(cs.buyer, fmt.Sprintf("key-%d", cs.keys), cs.sku)
}

func (cs *crashShop) do(orderNo, what string) {
	cs.tb.Helper()
	cs.must(http.StatusOK, http.MethodPost, "/v1/orders/"+orderNo+"/"+what, cs.buyer, "")
}

// died waits until the service was killed at the point.
func (cs *crashShop) died(s *service, p crash.Point) {
	cs.tb.Helper()
	select {
	case <-s.gone:
	case <-time.After(patience):
		cs.tb.Fatalf("%s lives on after %v", s.name, patience)
	}
	status, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL || !crash.Reached(cs.marks, p) {
		cs.tb.Fatalf("%s ended with %v, not killed at %s:\n%s", s.name, s.cmd.ProcessState, p, tail(s.log.String(), 30))
	}
}

// back starts the service again with the same environment and more. Its crash point is still armed but used up.
func (cs *crashShop) back(s *service, more map[string]string) {
	cs.tb.Helper()
	select {
	case <-s.gone:
	default:
		cs.tb.Fatalf("%s runs already", s.name)
	}
	s.env = append(s.env, environ(more)...)
	cs.restart(s)
}

// becomes waits until the order has the status.
func (cs *crashShop) becomes(orderNo, want string) {
	cs.tb.Helper()
	testkit.Eventually(cs.tb, patience, "order "+orderNo+" is "+want, func() error {
		if got := cs.status(orderNo); got != want {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
}

// holds waits until the reservation has the status.
func (cs *crashShop) holds(orderNo, want string) {
	cs.tb.Helper()
	testkit.Eventually(cs.tb, patience, "inventory's side of "+orderNo+" is "+want, func() error {
		if got := cs.reservation(orderNo); got != want {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

func (cs *crashShop) reservation(orderNo string) string {
	cs.tb.Helper()
	var status string
	err := cs.stockDB.QueryRow("SELECT status FROM reservations WHERE order_no = ?", orderNo).Scan(&status)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		cs.tb.Fatal(err)
	}
	return status
}

// holdsNothing waits until inventory holds no units for an order, with or without a tombstone.
func (cs *crashShop) holdsNothing(orderNo string) {
	cs.tb.Helper()
	testkit.Eventually(cs.tb, patience, "inventory holds nothing for "+orderNo, func() error {
		if got := cs.reservation(orderNo); got == "reserved" || got == "confirmed" {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

// stock checks the counters when the shop is at rest.
func (cs *crashShop) stock(available, reserved, sold int64) {
	cs.tb.Helper()
	r := cs.audit(patience)
	if s := r.SKUs[0]; s.Available != available || s.Reserved != reserved || s.Sold != sold {
		cs.tb.Errorf("available %d, reserved %d, sold %d; want %d, %d, %d", s.Available, s.Reserved, s.Sold, available, reserved, sold)
	}
}

// sent waits until the relay has marked all messages as sent.
func (cs *crashShop) sent() {
	cs.tb.Helper()
	testkit.Eventually(cs.tb, patience, "the outbox is empty", func() error {
		var n int
		if err := cs.ordersDB.QueryRow("SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL").Scan(&n); err != nil || n > 0 {
			return fmt.Errorf("%d messages are unsent, error %w", n, err)
		}
		return nil
	})
}

// metric returns the sum of a service's counters whose name and labels contain all of the texts.
func (cs *crashShop) metric(s *service, name string, labels ...string) (sum float64) {
	cs.tb.Helper()
	res, err := cs.client.Get("http://" + s.ops + "/metrics")
	if err != nil {
		cs.tb.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		cs.tb.Fatal(err)
	}
	for lines := bufio.NewScanner(strings.NewReader(string(page))); lines.Scan(); {
		line := lines.Text()
		if !strings.HasPrefix(line, name+"{") || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(line, l) }) {
			continue
		}
		n, err := strconv.ParseFloat(line[strings.LastIndex(line, " ")+1:], 64)
		if err != nil {
			cs.tb.Fatalf("%s: %v", line, err)
		}
		sum += n
	}
	return sum
}

// atLeast waits until a service's counter has the value. The counter increases shortly after the row changes.
func (cs *crashShop) atLeast(want float64, s *service, name string, labels ...string) {
	cs.tb.Helper()
	testkit.Eventually(cs.tb, patience, fmt.Sprintf("%s %v of %s is %v", name, labels, s.name, want), func() error {
		if got := cs.metric(s, name, labels...); got < want {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
}

// abandoned is the number of orders that a healer had to end: the test's order and, on a busy machine, earlier ones.
func (cs *crashShop) abandoned() (n float64) {
	cs.tb.Helper()
	if err := cs.ordersDB.QueryRow("SELECT COUNT(*) FROM orders WHERE status = 'ABANDONED'").Scan(&n); err != nil {
		cs.tb.Fatal(err)
	}
	return n
}

// healedBy checks that the running order-srv healed n orders with this healer and none with another.
func (cs *crashShop) healedBy(healer string, n float64) {
	cs.tb.Helper()
	if n > 0 {
		cs.atLeast(n, cs.order, "orders_healed_total", `by="`+healer+`"`)
	}
	for _, one := range []string{"check-back", "sweeper", "reconciler"} {
		want := 0.0
		if one == healer {
			want = n
		}
		if got := cs.metric(cs.order, "orders_healed_total", `by="`+one+`"`); got != want {
			cs.tb.Errorf("the %s healed %v orders, want %v", one, got, want)
		}
	}
}

// noted checks that the audit reports the healing.
func (cs *crashShop) noted(orderNo, healer, action string) {
	cs.tb.Helper()
	testkit.Eventually(cs.tb, patience, "the audit says what healed", func() error {
		r := cs.audit(patience)
		for _, h := range r.Healed {
			if h.OrderNo == orderNo && h.Healer == healer && h.Action == action {
				return nil
			}
		}
		return fmt.Errorf("it says %v", r.Healed)
	})
}
