package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
)

// quick are short timers, in their order. An order of an ordinary machine is decided within a second.
func quick(queueTimeout time.Duration) map[string]string {
	return map[string]string{
		"REQUEST_TIMEOUT": "3s", "PENDING_GRACE": "4s", "SWEEP_AFTER": "5s", "QUEUE_TIMEOUT": queueTimeout.String(),
		"SETTLE_AFTER": "1s", "RECONCILE_AFTER": "8s",
	}
}

// outageCases are the cases in which a part of the shop is away for a while, and the two that change the shop at the
// end. They run one after the other, and each for all flows at once.
func outageCases(t *testing.T, s *flowSuite, b crashBroker) {
	own := newOwnBroker(t, b)
	queueTimeout := 12 * time.Second
	if b.real {
		queueTimeout = 20 * time.Second // it is back later, and its consumers, too
	}
	o := &outages{s: s, b: b, queueTimeout: queueTimeout, shop: newShop(t, setup{strategy: "conditional", wallet: true, namesrv: own.namesrv, env: quick(queueTimeout)})}
	for _, row := range flowRows() {
		f := &flowShop{shop: o.shop, flow: row}
		f.stock(f.sku("AWAY"), 1000)
		o.tokens = append(o.tokens, f.login(row.name+"-away", "buyer"))
	}
	o.run(t, caseInventory, func(f flowRow) expectation { return f.inventoryAway },
		func(sh *shop) { sh.kill(sh.inventory) }, func(sh *shop) { sh.restart(sh.inventory) })
	o.run(t, caseWallet, func(f flowRow) expectation { return f.walletAway },
		func(sh *shop) { sh.kill(sh.wallets[0]) }, func(sh *shop) { sh.restart(sh.wallets[0]) })
	o.run(t, caseBroker, func(f flowRow) expectation { return f.brokerAway },
		func(*shop) { own.stop() }, func(*shop) { own.resume() })
	o.run(t, caseDisk, func(f flowRow) expectation { return f.diskLost },
		func(sh *shop) { sh.kill(sh.inventory) }, func(sh *shop) {
			(&crashShop{shop: sh}).sent() // by now the broker has what the flows and the payments have sent
			own.loseDisk()
			sh.restart(sh.inventory)
		})
	paymentRaces(t, s, o.shop, b)
	o.shop.noLies(o.shop.audit(patience))
	poisonMessages(t, s, o.shop, b)
}

// outages is a shop whose parts go away and come back.
type outages struct {
	s            *flowSuite
	b            crashBroker
	shop         *shop
	tokens       []string // of a buyer for each flow
	queueTimeout time.Duration
}

// away is what a flow has in flight during an outage.
type away struct {
	*flowShop
	token, key string
	want       expectation
	paid       string // an order that is paid meanwhile
}

// run takes a part away, has each flow take orders and payments meanwhile, and brings the part back. Each order must
// end as its flow's row says, new orders must be placed again, and the audit must be clean.
func (o *outages) run(t *testing.T, name string, want func(flowRow) expectation, takeAway, bringBack func(sh *shop)) {
	t.Run(name, func(t *testing.T) {
		sh := o.shop.on(t)
		var all []*away
		for i, row := range flowRows() {
			f := &flowShop{shop: sh, flow: row}
			a := &away{flowShop: f, token: o.tokens[i], key: f.sku(strings.ReplaceAll(name, " ", "-")), want: want(row)}
			a.paid = f.placed(a.token, a.key+"-before", f.sku("AWAY")).OrderNo
			all = append(all, a)
		}
		takeAway(sh)
		begin := time.Now()
		after := func(what string) { t.Logf("%s after %.1f s", what, time.Since(begin).Seconds()) }
		together(all, func(a *away) { a.orders(t) })
		after("orders taken")
		bringBack(sh)
		after("back")
		together(all, func(a *away) { a.ends(t, begin, o.queueTimeout) })
		after("orders decided")
		for _, a := range all {
			a.again()
		}
		after("new orders placed")
		sh.audit(patience)
		after("at rest")
		for _, a := range all {
			became := fmt.Sprintf("%d, then %s (%.0f s)", a.want.answer, a.want.ends, time.Since(begin).Seconds())
			o.s.put(t, o.b, name, a.flow.name, became)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
}

// together calls do for all of them at the same time. do must not call Fatal.
func together[T any](all []T, do func(T)) {
	var running sync.WaitGroup
	for _, one := range all {
		running.Go(func() { do(one) })
	}
	running.Wait()
}

// ordersAway is how many orders come to each flow during an outage.
const ordersAway = 3

// orders places orders and pays an earlier one while the part is away.
func (a *away) orders(t *testing.T) {
	var buying sync.WaitGroup
	for i := range ordersAway {
		buying.Go(func() {
			// After an earlier outage the gateway admits few orders at once, until quick ones have come.
			got, err := admitted(func() (answer, error) { return a.order(a.token, fmt.Sprint(a.key, i), one(a.sku("AWAY"), 1)) })
			if err != nil || got.Status != a.want.answer {
				t.Errorf("%s: answered with %d %s, error %v; want %d", a.flow.name, got.Status, got.Body, err, a.want.answer)
			}
		})
	}
	pay := func() (answer, error) { return a.call(http.MethodPost, "/v1/orders/"+a.paid+"/payment", a.token, "") }
	if got, err := admitted(pay); err != nil || got.Status != http.StatusOK {
		t.Errorf("%s: the payment was answered with %d %s, error %v", a.flow.name, got.Status, got.Body, err)
	}
	buying.Wait()
}

// ends checks how the orders end. On a busy machine the part may have been away for so long that an order that waited
// was abandoned, which is right then.
func (a *away) ends(t *testing.T, begin time.Time, queueTimeout time.Duration) {
	for i := range ordersAway {
		orderNo, err := a.numberOf(fmt.Sprint(a.key, i))
		if err == nil {
			err = a.await(a.token, orderNo, decisionTime)
		}
		if err != nil {
			t.Errorf("%s: %v", a.flow.name, err)
			return
		}
		late := a.want.ends == orderapi.StatusPlaced && time.Since(begin) > queueTimeout
		if got := a.status(orderNo); got != a.want.ends && (!late || got != orderapi.StatusAbandoned) {
			t.Errorf("%s: order %s is %s, want %s", a.flow.name, orderNo, got, a.want.ends)
		}
	}
}

// numberOf returns the newest order with a key, which may be free again.
func (sh *shop) numberOf(key string) (orderNo string, err error) {
	err = sh.ordersDB.QueryRow("SELECT order_no FROM orders WHERE COALESCE(idempotency_key, freed_key) = ? ORDER BY order_no DESC LIMIT 1", key).Scan(&orderNo)
	if err != nil {
		return "", fmt.Errorf("look for the order with key %s: %w", key, err)
	}
	return orderNo, nil
}

// again orders until an order is placed.
func (a *away) again() {
	a.tb.Helper()
	n := 0
	testkit.Eventually(a.tb, patience, a.flow.name+" places orders again", func() error {
		n++
		_, got, err := a.decide(a.token, fmt.Sprint(a.key, "-again-", n), one(a.sku("AWAY"), 1))
		if err == nil && got.Status != http.StatusCreated {
			err = fmt.Errorf("answered with %d %s", got.Status, got.Body)
		}
		return err
	})
}

// paymentRaces pays orders at the moment at which they expire. Each must end either paid or expired, as its buyer was
// told.
func paymentRaces(t *testing.T, s *flowSuite, sh *shop, b crashBroker) {
	for _, svc := range sh.orders {
		sh.stop(svc)
		svc.env = append(svc.env, "PAYMENT_TIMEOUT=6s")
		sh.restart(svc)
	}
	s.each(t, sh, b, caseRace, func(t *testing.T, f *flowShop) string {
		n := s.size(20, 100)
		sku := f.sku("RACE")
		f.stock(sku, n)
		token := f.login(f.flow.name+"-race", "buyer")
		var mu sync.Mutex
		ends := map[string]int{}
		var paying sync.WaitGroup
		for i := range n {
			paying.Go(func() {
				end := f.payAtExpiry(t, token, fmt.Sprintf("%s-race-%d", f.flow.name, i), sku, time.Duration(i-n/2)*time.Second/time.Duration(n))
				mu.Lock()
				defer mu.Unlock()
				ends[end]++
			})
		}
		paying.Wait()
		paid, expired := ends[orderapi.StatusPaid], ends[orderapi.StatusExpired]
		if paid+expired != n || paid == 0 || expired == 0 {
			t.Errorf("orders ended as %v: there was no race", ends)
		}
		return fmt.Sprintf("%d paid, %d expired", paid, expired)
	})
}

// payAtExpiry places an order, pays it that long after its expiry, and returns its end.
func (f *flowShop) payAtExpiry(t *testing.T, token, key, sku string, after time.Duration) string {
	_, a, err := f.decide(token, key, one(sku, 1))
	if err != nil || a.Status != http.StatusCreated {
		t.Errorf("place %s: %v, %d %s", key, err, a.Status, a.Body)
		return ""
	}
	o := a.order(t)
	time.Sleep(time.Until(o.ExpiresAt.Add(after)))
	paid, err := f.call(http.MethodPost, "/v1/orders/"+o.OrderNo+"/payment", token, "")
	if err != nil {
		t.Errorf("pay %s: %v", key, err)
		return ""
	}
	var end string
	for until := time.Now().Add(decisionTime); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if end = f.status(o.OrderNo); end != orderapi.StatusPlaced {
			break
		}
	}
	// A busy shop may refuse a payment, or not answer in time. Then it says that the order is not paid, and it is not.
	refusals := []string{"not_payable", "overloaded", "timeout", "order_timeout"}
	if (paid.Status == http.StatusOK) != (end == orderapi.StatusPaid) || paid.Status != http.StatusOK && !slices.Contains(refusals, paid.code()) {
		t.Errorf("the payment of %s was answered with %d %s, and the order is %s", key, paid.Status, paid.Body, end)
	}
	return end
}
