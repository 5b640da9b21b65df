package e2e_test

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
)

// flowShop is a shop whose buyers order through one flow.
type flowShop struct {
	*shop
	flow flowRow
}

// one returns the body of a request for n units of a SKU.
func one(sku string, n int) string {
	return fmt.Sprintf(`{"items":[{"sku":%q,"quantity":%d}]}`, sku, n)
}

// order sends a request for an order once.
func (f *flowShop) order(token, key, body string, headers ...string) (answer, error) {
	headers = append([]string{"Idempotency-Key", key, "X-Order-Flow", f.flow.name}, headers...)
	return f.call(http.MethodPost, "/v1/orders", token, body, headers...)
}

// decisionTime bounds the wait for a decision on a busy machine.
const decisionTime = 2 * time.Minute

// decide is a correct client: it waits for the decision of its order and then repeats its request with the same key,
// which gets the stored answer. It retries what was refused for the moment. first is the status of the first answer
// that was none of these refusals.
func (f *flowShop) decide(token, key, body string, headers ...string) (first int, last answer, err error) {
	for end := time.Now().Add(decisionTime); time.Now().Before(end); {
		last, err = f.order(token, key, body, headers...)
		switch {
		case err != nil:
			return first, last, err
		case last.Status == http.StatusTooManyRequests:
			time.Sleep(time.Second) // its Retry-After
			continue
		case last.Status >= http.StatusInternalServerError: // a busy machine
			time.Sleep(200 * time.Millisecond)
			continue
		case first == 0:
			first = last.Status
		}
		if last.Status != http.StatusAccepted {
			return first, last, nil
		}
		if err := f.await(token, last.order(f.tb).OrderNo, time.Until(end)); err != nil {
			return first, last, err
		}
	}
	return first, last, errors.New("not decided in time")
}

// await waits with GET …?wait= until the order is no longer PENDING.
func (f *flowShop) await(token, orderNo string, within time.Duration) error {
	path := "/v1/orders/" + orderNo + "?wait=2s"
	for end := time.Now().Add(within); time.Now().Before(end); {
		a, err := f.call(http.MethodGet, path, token, "")
		switch {
		case err != nil:
			return err
		case a.Status == http.StatusOK && a.order(f.tb).Status != orderapi.StatusPending:
			return nil
		case a.Status != http.StatusOK:
			time.Sleep(100 * time.Millisecond)
		}
	}
	return fmt.Errorf("order %s is still %s", orderNo, f.status(orderNo))
}

// stock creates a product with units. It repeats a request that took too long on a busy machine; a repeat counts once.
func (f *flowShop) stock(sku string, units int) {
	f.tb.Helper()
	post := func(path, body string) {
		f.tb.Helper()
		testkit.Eventually(f.tb, patience, "POST "+path, func() error {
			a, err := f.call(http.MethodPost, path, f.admin, body)
			if err == nil && a.Status >= http.StatusMultipleChoices && a.code() != "product_exists" {
				err = fmt.Errorf("answered with %d %s", a.Status, a.Body)
			}
			return err
		})
	}
	post("/v1/admin/products", fmt.Sprintf(`{"sku":%q,"title":"Thing %s","price_cents":1250}`, sku, sku))
	post("/v1/admin/products/"+sku+"/inbound", fmt.Sprintf(`{"quantity":%d,"reference":"first-%s","reason":"test"}`, units, sku))
}

// placed orders one unit and requires success.
func (f *flowShop) placed(token, key, sku string) orderapi.Order {
	f.tb.Helper()
	_, a, err := f.decide(token, key, one(sku, 1))
	if err != nil || a.Status != http.StatusCreated {
		f.tb.Fatalf("place through %s: %v, %d %s", f.flow.name, err, a.Status, a.Body)
	}
	return a.order(f.tb)
}
