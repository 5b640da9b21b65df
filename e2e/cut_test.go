package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/tcpproxy"
	"holdfast/internal/dev/testkit"
)

// TestDependencyCut cuts each dependency in turn. Orders must get a 503 within the deadline, readiness must name
// exactly the missing part, and everything must recover without a restart.
func TestDependencyCut(t *testing.T) {
	t.Parallel()
	redis := tcpproxy.New(t, stacktest.Redis(t))
	var mysql *tcpproxy.Proxy
	sh := newShop(t, setup{
		redis:  redis.Addr(),
		wallet: true,
		mysql: func(dsn string) string {
			addr := dsn[strings.Index(dsn, "tcp(")+4 : strings.Index(dsn, ")")]
			if mysql == nil {
				mysql = tcpproxy.New(t, addr)
			}
			return strings.Replace(dsn, addr, mysql.Addr(), 1)
		},
		env: map[string]string{"PENDING_GRACE": "6s", "SWEEP_AFTER": "8s", "RECONCILE_AFTER": "10s"},
	})
	sh.product("CUT-1", 100)
	ann := sh.login("ann", "buyer")
	sh.mustPlace(ann, "before", "CUT-1")

	for _, tt := range []struct {
		name    string
		proxy   *tcpproxy.Proxy
		affects []*service
	}{
		{"redis", redis, []*service{sh.inventory}},
		{"mysql", mysql, []*service{sh.inventory, sh.order}},
	} {
		tt.proxy.Cut()
		sh.refusesOrders(ann, tt.name)
		for _, s := range tt.affects {
			sh.namesExactly(s, tt.name)
		}
		tt.proxy.Restore()
		sh.recovers(ann, tt.name)
	}
	sh.truthful(sh.audit(90 * time.Second))
}

// TestBrokerCut kills the broker, which an order needs before any other dependency.
func TestBrokerCut(t *testing.T) {
	t.Parallel()
	broker := stacktest.OwnRocketMQ(t)
	sh := newShop(t, setup{namesrv: broker.NamesrvAddr, wallet: true})
	sh.product("CUT-2", 100)
	ann := sh.login("ann", "buyer")
	sh.mustPlace(ann, "before", "CUT-2")

	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := broker.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	sh.refusesOrders(ann, "broker")
	sh.namesExactly(sh.order, "broker")
	sh.namesExactly(sh.inventory, "broker")
	if err := broker.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	sh.recovers(ann, "broker")
	sh.truthful(sh.audit(90 * time.Second))
}

// TestInventoryCut cuts the connection from order-srv to inventory-srv.
func TestInventoryCut(t *testing.T) {
	t.Parallel()
	var proxy *tcpproxy.Proxy
	sh := newShop(t, setup{
		wallet: true,
		inventory: func(addr string) string {
			proxy = tcpproxy.New(t, addr)
			return proxy.Addr()
		},
		env: map[string]string{"PENDING_GRACE": "6s", "SWEEP_AFTER": "8s", "RECONCILE_AFTER": "10s"},
	})
	sh.product("CUT-3", 100)
	ann := sh.login("ann", "buyer")
	sh.mustPlace(ann, "before", "CUT-3")
	proxy.Cut()
	sh.refusesOrders(ann, "inventory")
	sh.namesExactly(sh.order, "inventory")
	proxy.Restore()
	sh.recovers(ann, "inventory")
	sh.truthful(sh.audit(90 * time.Second))
}

// refusesOrders expects a 503 problem within the gateway's deadline. A 202 is correct only if the cut may have come
// after the reservation.
func (sh *shop) refusesOrders(token, cut string) {
	sh.tb.Helper()
	begin := time.Now()
	a, err := sh.place(token, "during-"+cut, sh.anySKU())
	if err != nil {
		sh.tb.Fatalf("%s cut: %v", cut, err)
	}
	if d := time.Since(begin); d > 6*time.Second {
		sh.tb.Errorf("%s cut: the answer took %v", cut, d)
	}
	if a.Status != http.StatusServiceUnavailable && (a.Status != http.StatusAccepted || cut == "broker") {
		sh.tb.Errorf("%s cut: status %d, want 503\n%s", cut, a.Status, a.Body)
	}
	sh.tb.Logf("%s cut: %d %s after %v", cut, a.Status, a.code(), time.Since(begin).Round(time.Millisecond))
}

func (sh *shop) namesExactly(s *service, dependency string) {
	sh.tb.Helper()
	testkit.Eventually(sh.tb, 20*time.Second, s.name+" names "+dependency, func() error {
		r := sh.readyz(s)
		// order-srv reads, pays and cancels without a broker and an inventory.
		if ready := s == sh.order && dependency != "mysql"; (r.Status == "ok") != ready {
			return fmt.Errorf("%s is %s without %s", s.name, r.Status, dependency)
		}
		for name, state := range r.Checks {
			if (state != "ok") != (name == dependency) {
				return fmt.Errorf("checks: %v", r.Checks)
			}
		}
		return nil
	})
}

func (sh *shop) recovers(token, cut string) {
	sh.tb.Helper()
	n := 0
	testkit.Eventually(sh.tb, 60*time.Second, "orders after "+cut+" is back", func() error {
		n++
		a, err := sh.place(token, fmt.Sprintf("after-%s-%d", cut, n), sh.anySKU())
		if err == nil && a.Status != http.StatusCreated {
			err = fmt.Errorf("status %d: %s", a.Status, a.Body)
		}
		return err
	})
	for _, s := range []*service{sh.inventory, sh.order, sh.gateway} {
		sh.waitReady(s)
	}
}

// anySKU returns a SKU with stock.
func (sh *shop) anySKU() string {
	sh.tb.Helper()
	var sku string
	if err := sh.stockDB.QueryRow("SELECT sku FROM stock WHERE available > 0 LIMIT 1").Scan(&sku); err != nil {
		sh.tb.Fatal(err)
	}
	return sku
}
