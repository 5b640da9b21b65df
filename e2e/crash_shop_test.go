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

// patience is how long a crash test waits for anything: other tests may fill the machine meanwhile, and an ordered
// queue whose lock was lost with its broker may stand still for a minute.
const patience = 3 * time.Minute

// Which healers work. A healer that is off waits for an hour; the order of the timers is kept. An order is placed
// within a second or two; what is more is for a machine that is busy with other tests.
func onlyCheckBack() map[string]string {
	return map[string]string{"REQUEST_TIMEOUT": "6s", "PENDING_GRACE": "7s", "SWEEP_AFTER": "1h", "RECONCILE_AFTER": "2h"}
}

func onlySweeper() map[string]string { // it is of no use to switch the check-back off: the broker knows of nothing to ask
	return map[string]string{"REQUEST_TIMEOUT": "6s", "PENDING_GRACE": "7s", "SWEEP_AFTER": "8s", "RECONCILE_AFTER": "1h"}
}

func onlyReconciler() map[string]string { // the sweeper comes first; it has nothing to do with orders that have ended
	return map[string]string{"REQUEST_TIMEOUT": "6s", "PENDING_GRACE": "7s", "SWEEP_AFTER": "8s", "RECONCILE_AFTER": "9s"}
}

func noHealer() map[string]string { // long deadlines, too: what dies is back before they end
	return map[string]string{"REQUEST_TIMEOUT": "30s", "PENDING_GRACE": "40s", "BROKER_TRANSACTION_TIMEOUT": "40s", "SWEEP_AFTER": "1h", "RECONCILE_AFTER": "2h"}
}

// crashShop is a shop whose services die on demand.
type crashShop struct {
	*shop
	sku   string // of its own: the shops share a Redis, and a lease outlives who died with it
	marks string // where a crash point leaves word that it was reached
	buyer string // token
	keys  int
}

// units come in of what a crash test sells.
const units = 10

// newCrashShop starts a shop on the broker with some points armed, and other settings than usual.
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

// arm is the environment that arms points.
func (cs *crashShop) arm(points ...crash.Point) map[string]string {
	var names []string
	for _, p := range points {
		names = append(names, string(p))
	}
	return map[string]string{crash.EnvAt: strings.Join(names, ","), crash.EnvMarks: cs.marks}
}

// reach orders until a process has come to the point, and returns the order that took it there. One order does it,
// unless the machine is so busy that an order is refused before.
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

// try orders once, whatever comes of it. orderNo is empty if the order was not even written down.
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

// many is a request for more than one unit.
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

// placed orders and expects it to succeed.
func (cs *crashShop) placed() orderapi.Order {
	cs.tb.Helper()
	cs.keys++
	return cs.mustPlace(cs.buyer, fmt.Sprintf("key-%d", cs.keys), cs.sku)
}

func (cs *crashShop) do(orderNo, what string) {
	cs.tb.Helper()
	cs.must(http.StatusOK, http.MethodPost, "/v1/orders/"+orderNo+"/"+what, cs.buyer, "")
}

// died waits until the service has been killed at the point.
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

// back starts the service again, as it was: still armed, but what made it die is used up. more is added to its
// environment.
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

// becomes waits for an order's status.
func (cs *crashShop) becomes(orderNo, want string) {
	cs.tb.Helper()
	testkit.Eventually(cs.tb, patience, "order "+orderNo+" is "+want, func() error {
		if got := cs.status(orderNo); got != want {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
}

// holds waits for the reservation's status.
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

// holdsNothing waits until inventory holds nothing for an order, with a tombstone or without.
func (cs *crashShop) holdsNothing(orderNo string) {
	cs.tb.Helper()
	testkit.Eventually(cs.tb, patience, "inventory holds nothing for "+orderNo, func() error {
		if got := cs.reservation(orderNo); got == "reserved" || got == "confirmed" {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

// stock expects the counters when everything has come to rest.
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

// metric is the sum of a service's counters whose name and labels contain all of the texts.
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

// atLeast waits for a service's counter: it is raised a moment after the row by which a test sees the effect.
func (cs *crashShop) atLeast(want float64, s *service, name string, labels ...string) {
	cs.tb.Helper()
	testkit.Eventually(cs.tb, patience, fmt.Sprintf("%s %v of %s is %v", name, labels, s.name, want), func() error {
		if got := cs.metric(s, name, labels...); got < want {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
}

// abandoned is the number of orders that a healer had to end: the one of the test, and on a busy machine some before
// it.
func (cs *crashShop) abandoned() (n float64) {
	cs.tb.Helper()
	if err := cs.ordersDB.QueryRow("SELECT COUNT(*) FROM orders WHERE status = 'ABANDONED'").Scan(&n); err != nil {
		cs.tb.Fatal(err)
	}
	return n
}

// healedBy expects the order-srv that runs now to have healed n orders by this healer and none by another.
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

// noted expects the healing to be kept for the audit.
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
