package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
)

// TestReplicasKilled sells 500 units to 2,000 buyers through two replicas of each service. One replica of each is
// killed meanwhile and started again. At the end all 500 units must be held, every answer must be true, and `holdfast
// audit` must exit with status 0.
//
// An order whose process dies is abandoned some seconds later and returns its unit; the buyer's retry with the same
// key is a new order. Buyers who were refused before that were refused correctly, so units may be available when all
// buyers have an answer. Further rounds sell them to refused buyers, each with a new key.
func TestReplicasKilled(t *testing.T) {
	t.Parallel()
	const buyers, units, sku = 2000, 500, "HOT-1"
	begin := time.Now()
	sh := newShop(t, setup{replicas: 2, env: map[string]string{
		"REQUEST_TIMEOUT": "6s", "PENDING_GRACE": "8s", "SWEEP_AFTER": "10s", "RECONCILE_AFTER": "12s",
	}})
	sh.product(sku, units)
	c := newCrowd(sh, sku, 64)
	queue := c.buyers(buyers)
	bought := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer func() { // also if the test fails
		cancel()
		<-bought
	}()
	go func() {
		defer close(bought)
		c.buy(ctx, queue)
	}()
	kills := killEach(t, c, bought, begin)
	<-bought
	t.Logf("after %v: %v", time.Since(begin).Round(time.Millisecond), c)

	all, rounds := queue, 1
	r := sh.audit(90 * time.Second)
	for left := sh.available(sku); left > 0; left = sh.available(sku) {
		if rounds++; rounds > 5 {
			t.Fatalf("%d units are left after %d rounds", left, rounds)
		}
		again := secondChance(all, int(left), rounds)
		c.buy(ctx, again)
		all = append(all, again...)
		r = sh.audit(90 * time.Second)
	}

	everyAnswerIsTrue(t, sh, all, units)
	for _, u := range sh.noLies(r).Undecided {
		t.Logf("not decided: %s", u)
	}
	audit := strings.TrimSpace(sh.holdfast("audit", "--expect-sales"))
	t.Logf("killed and started again: %s; %v; sold in %d rounds; orders abandoned by check-back %d, by the sweeper %d; reconciled %d; audit: %s; %v in all",
		strings.Join(kills, ", "), c, rounds, sh.total(sh.orders, "orders_healed_total", `by="check-back"`),
		sh.total(sh.orders, "orders_healed_total", `by="sweeper"`), sh.total(sh.orders, "orders_healed_total", `by="reconciler"`),
		audit[strings.LastIndex(audit, "\n")+1:], time.Since(begin).Round(time.Second))
	if c.ambiguous.Load() == 0 {
		t.Error("no request was ambiguous: the kills hit nothing, and this run proves nothing")
	}
}

// killEach kills one replica of each service in turn, at certain numbers of units sold, and starts it again some units
// later, so that the other replica works alone for a while. It returns a log of the kills.
func killEach(t *testing.T, c *crowd, bought <-chan struct{}, begin time.Time) (kills []string) {
	t.Helper()
	const alone = 40 // units sold by the remaining replica alone
	reached := func(n int64, what string) {
		testkit.Eventually(c.sh.tb, buyerPatience, what, func() error {
			select {
			case <-bought:
				t.Fatalf("everybody has bought before %s", what)
			default:
			}
			if got := c.placed.Load(); got < n {
				return fmt.Errorf("%d units sold", got)
			}
			return nil
		})
	}
	for i, s := range []*service{c.sh.orders[0], c.sh.inventories[1], c.sh.gateways[0]} {
		at := int64(60 + 120*i)
		reached(at, s.name+" is killed")
		c.sh.kill(s)
		kills = append(kills, fmt.Sprintf("%s after %d units and %v", s.name, c.placed.Load(), time.Since(begin).Round(100*time.Millisecond)))
		reached(at+alone, s.name+" is started again")
		c.sh.restart(s)
	}
	return kills
}

// secondChance lets n refused buyers buy again.
func secondChance(all []*purchase, n, round int) (again []*purchase) {
	for _, p := range all {
		if p.result == soldOut && len(again) < n {
			p.result = soldOut + ", bought again"
			again = append(again, &purchase{token: p.token, key: fmt.Sprintf("%s-round-%d", p.key, round)})
		}
	}
	return again
}

// everyAnswerIsTrue compares the buyers' answers with the rows of both databases.
func everyAnswerIsTrue(t *testing.T, sh *shop, all []*purchase, units int) {
	t.Helper()
	status, holds := sh.ordersByKey()
	byNumber := sh.statuses()
	told := 0
	for _, p := range all {
		row, ok := status[p.key]
		switch {
		case p.result == undecided:
			t.Errorf("buyer %s has no answer; the order is %+v", p.key, row)
		case p.result == boughtUnit:
			told++
			if row.status != orderapi.StatusPlaced || row.orderNo != p.orderNo || holds[p.orderNo] != 1 {
				t.Errorf("buyer %s was told that order %s is placed; it is %+v and holds %d units", p.key, p.orderNo, row, holds[p.orderNo])
			}
		case p.orderNo != "" && byNumber[p.orderNo] != orderapi.StatusRejected: // the order may have freed its key
			t.Errorf("buyer %s was told %q; the order %s is %s", p.key, p.result, p.orderNo, byNumber[p.orderNo])
		case p.orderNo == "" && ok && row.status != orderapi.StatusRejected: // refused without an order
			t.Errorf("buyer %s was told %q; the order is %+v", p.key, p.result, row)
		case holds[row.orderNo] != 0:
			t.Errorf("buyer %s was told %q; the order holds %d units", p.key, p.result, holds[row.orderNo])
		}
	}
	held := 0
	for _, n := range holds {
		held += n
	}
	if told != units || held != units {
		t.Errorf("%d buyers were told that they have a unit, and %d units are held; want %d", told, held, units)
	}
}

type orderRow struct{ orderNo, status string }

// statuses returns the status of every order by its number.
func (sh *shop) statuses() map[string]string {
	sh.tb.Helper()
	var lines []string
	if err := query(sh.ordersDB, "SELECT order_no, status FROM orders", &lines); err != nil {
		sh.tb.Fatal(err)
	}
	found := map[string]string{}
	for _, line := range lines {
		orderNo, status, _ := strings.Cut(line, " | ")
		found[orderNo] = status
	}
	return found
}

// ordersByKey returns all orders by idempotency key, and the units that each order holds.
func (sh *shop) ordersByKey() (orders map[string]orderRow, holds map[string]int) {
	sh.tb.Helper()
	orders, holds = map[string]orderRow{}, map[string]int{}
	var lines []string
	if err := query(sh.ordersDB, "SELECT idempotency_key, order_no, status FROM orders WHERE idempotency_key IS NOT NULL", &lines); err != nil {
		sh.tb.Fatal(err)
	}
	for _, line := range lines {
		cells := strings.Split(line, " | ")
		orders[cells[0]] = orderRow{cells[1], cells[2]}
	}
	lines = nil
	if err := query(sh.stockDB, `SELECT order_no, SUM(quantity) FROM all_reservation_lines
		WHERE status IN ('reserved', 'confirmed') GROUP BY order_no`, &lines); err != nil {
		sh.tb.Fatal(err)
	}
	for _, line := range lines {
		orderNo, units, _ := strings.Cut(line, " | ")
		n := 0
		if _, err := fmt.Sscan(units, &n); err != nil {
			sh.tb.Fatal(err)
		}
		holds[orderNo] = n
	}
	return orders, holds
}
