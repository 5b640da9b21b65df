package e2e_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
)

// TestUnpaidOrderExpires tests the delayed message: the sweeper, which would also expire the order, waits for an hour.
func TestUnpaidOrderExpires(t *testing.T) {
	t.Parallel()
	sh := newShop(t, setup{env: map[string]string{"PAYMENT_TIMEOUT": "5s", "SWEEP_AFTER": "1h", "RECONCILE_AFTER": "2h"}})
	const sku = "LAST-ONE"
	sh.product(sku, 1)
	ann, bob := sh.login("ann", "buyer"), sh.login("bob", "buyer")

	unpaid := sh.mustPlace(ann, "a-1", sku)
	if a, err := sh.place(bob, "b-1", sku); err != nil || a.code() != "out_of_stock" {
		t.Fatalf("the only unit was sold twice: %v %d %s", err, a.Status, a.Body)
	}
	testkit.Eventually(sh.tb, 30*time.Second, "the unpaid order expires", func() error {
		if s := sh.status(unpaid.OrderNo); s != orderapi.StatusExpired {
			return fmt.Errorf("status %s", s)
		}
		return nil
	})
	if a := sh.must(http.StatusConflict, http.MethodPost, "/v1/orders/"+unpaid.OrderNo+"/payment", ann, ""); a.code() != "not_payable" {
		t.Errorf("paying an expired order: %s", a.Body)
	}
	testkit.Eventually(sh.tb, 30*time.Second, "its unit is free again", func() error {
		if n := sh.available(sku); n != 1 {
			return fmt.Errorf("%d available", n)
		}
		return nil
	})

	paid := sh.mustPlace(bob, "b-2", sku)
	for range 2 { // the second payment must have no effect
		a := sh.must(http.StatusOK, http.MethodPost, "/v1/orders/"+paid.OrderNo+"/payment", bob, "")
		if o := a.order(t); o.Status != orderapi.StatusPaid || o.PaidAt == nil {
			t.Errorf("paid order: %s", a.Body)
		}
	}
	testkit.Eventually(sh.tb, 30*time.Second, "inventory confirms the paid order", func() error {
		var s string
		if err := sh.stockDB.QueryRow("SELECT status FROM reservations WHERE order_no = ?", paid.OrderNo).Scan(&s); err != nil {
			return err
		}
		if s != "confirmed" {
			return fmt.Errorf("reservation is %s", s)
		}
		return nil
	})
	r := sh.audit(60 * time.Second)
	sh.truthful(r)
	if len(r.SKUs) != 1 || r.SKUs[0].Sold != 1 || r.SKUs[0].Available != 0 {
		t.Errorf("ledger: %+v", r.SKUs)
	}
}

func TestCancelledOrderGivesBack(t *testing.T) {
	t.Parallel()
	sh := newShop(t, setup{})
	sh.product("C-1", 1)
	ann, bob := sh.login("ann", "buyer"), sh.login("bob", "buyer")
	o := sh.mustPlace(ann, "a-1", "C-1")
	if a := sh.must(http.StatusNotFound, http.MethodPost, "/v1/orders/"+o.OrderNo+"/cancellation", bob, ""); a.code() != "unknown_order" {
		t.Errorf("somebody else's order: %s", a.Body)
	}
	for range 2 {
		sh.must(http.StatusOK, http.MethodPost, "/v1/orders/"+o.OrderNo+"/cancellation", ann, "")
	}
	sh.must(http.StatusConflict, http.MethodPost, "/v1/orders/"+o.OrderNo+"/payment", ann, "")
	sh.truthful(sh.audit(60 * time.Second))
	if n := sh.available("C-1"); n != 1 {
		t.Errorf("%d available after cancellation, want 1", n)
	}
}

// TestGivenBackUnitsAreSoldAgain lets a dozen buyers compete for three units. A buyer that gets a unit returns it, and
// a refused buyer retries. The history check decides whether every refusal was correct at its moment and whether two
// buyers ever held the same unit.
func TestGivenBackUnitsAreSoldAgain(t *testing.T) {
	t.Parallel()
	const buyers, units, enough, tries = 12, 3, 15, 400
	sh := newShop(t, setup{env: patient()})
	sh.product("TURN", units)
	var back atomic.Int64
	var wg sync.WaitGroup
	for i := range buyers {
		token := sh.login(fmt.Sprintf("buyer-%d", i), "buyer")
		wg.Go(func() {
			for try := 0; try < tries && back.Load() < enough; try++ {
				a, err := sh.place(token, fmt.Sprintf("k-%d-%d", i, try), "TURN")
				switch {
				case err == nil && a.Status == http.StatusCreated:
					a, err = sh.call(http.MethodPost, "/v1/orders/"+a.order(t).OrderNo+"/cancellation", token, "")
					back.Add(1)
				case err == nil && a.code() == "out_of_stock":
					<-time.After(50 * time.Millisecond) // before the retry
					continue
				}
				if err != nil || a.Status != http.StatusOK {
					t.Errorf("buyer %d: %v %d %s", i, err, a.Status, a.Body)
					return
				}
			}
		})
	}
	wg.Wait()
	r := sh.audit(120 * time.Second)
	last := sh.login("latecomer", "buyer") // can buy any available unit
	for i := range r.SKUs[0].Available {
		sh.mustPlace(last, fmt.Sprintf("last-%d", i), "TURN")
	}
	if a, err := sh.place(last, "too-late", "TURN"); err != nil || a.code() != "out_of_stock" {
		t.Errorf("after the last unit: %v %d %s", err, a.Status, a.Body)
	}
	r = sh.audit(120 * time.Second)
	if f := sh.truthful(r); f.Searched != 1 {
		t.Errorf("%d SKUs had units given back, want 1", f.Searched)
	}
	if r.Orders[orderapi.StatusCancelled] < enough || r.Orders[orderapi.StatusRejected] < enough || r.SKUs[0].Reserved != units {
		t.Errorf("orders %v and ledger %+v: that proves little", r.Orders, r.SKUs[0])
	}
	t.Logf("orders: %v", r.Orders)
}

// TestPaymentRacesExpiry pays 200 orders at the moment at which they expire. Each must end either paid or expired.
func TestPaymentRacesExpiry(t *testing.T) {
	t.Parallel()
	const orders = 200
	env := patient()
	env["REQUEST_TIMEOUT"], env["PAYMENT_TIMEOUT"] = "20s", "22s" // an order can be paid when it is placed at the latest
	sh := newShop(t, setup{strategy: "for-update", env: env})
	sh.product("RACE", orders)
	ann := sh.login("ann", "buyer")
	var wg sync.WaitGroup
	answers := make([]answer, orders)
	numbers := make([]string, orders)
	for i := range orders {
		wg.Go(func() {
			a, err := sh.place(ann, fmt.Sprintf("k-%d", i), "RACE")
			if err != nil || a.Status != http.StatusCreated {
				t.Errorf("place %d: %v %d %s", i, err, a.Status, a.Body)
				return
			}
			o := a.order(t)
			numbers[i] = o.OrderNo
			// Spread over the second in which the broker's timer fires, beginning just before the expiry.
			at := o.ExpiresAt.Add(time.Duration(i-orders/2) * 10 * time.Millisecond)
			<-time.After(time.Until(at))
			answers[i], err = sh.call(http.MethodPost, "/v1/orders/"+o.OrderNo+"/payment", ann, "")
			if err != nil {
				t.Errorf("pay %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	r := sh.audit(120 * time.Second)
	sh.truthful(r)
	paid := 0
	for i, a := range answers {
		got := sh.status(numbers[i])
		switch {
		case a.Status == http.StatusOK && got == orderapi.StatusPaid:
			paid++
		case a.Status == http.StatusConflict && got == orderapi.StatusExpired:
		case a.Status == http.StatusTooManyRequests && got == orderapi.StatusExpired: // on a busy machine; nothing was done
		default:
			t.Errorf("order %d: payment answered %d %s, the order is %s", i, a.Status, a.code(), got)
		}
	}
	if r.Orders[orderapi.StatusPaid] != paid || r.Orders[orderapi.StatusExpired] != orders-paid {
		t.Errorf("orders by status %v, answers say %d paid", r.Orders, paid)
	}
	if paid == 0 || paid == orders {
		t.Errorf("%d of %d paid: there was no race", paid, orders)
	}
	if s := r.SKUs[0]; s.Sold != int64(paid) || s.Available != int64(orders-paid) {
		t.Errorf("ledger %+v, want %d sold", s, paid)
	}
	t.Logf("%d paid, %d expired", paid, orders-paid)
}
