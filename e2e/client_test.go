package e2e_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/check"
	"holdfast/order-srv/orderapi"
)

// answer is an answer of the gateway.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

func (a answer) code() string {
	var p struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(a.Body, &p)
	return p.Code
}

func (a answer) order(tb testing.TB) orderapi.Order {
	tb.Helper()
	var o orderapi.Order
	if err := json.Unmarshal(a.Body, &o); err != nil {
		tb.Fatalf("answer %d is no order: %v\n%s", a.Status, err, a.Body)
	}
	return o
}

// call sends a request to the gateways in turn. headers are names and values in turn.
func (sh *shop) call(method, path, token, body string, headers ...string) (answer, error) {
	gateway := sh.gateways[int(sh.turn.Add(1))%len(sh.gateways)]
	return sh.callWith(context.Background(), sh.client, gateway, method, path, token, body, headers...)
}

// send sends a request to one gateway with the given client. It does not record the answer.
func (sh *shop) send(ctx context.Context, client *http.Client, gateway *service, method, path, token, body string, headers ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+gateway.http+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, b}, err
}

// must sends a request and requires the given status.
func (sh *shop) must(want int, method, path, token, body string, headers ...string) answer {
	sh.tb.Helper()
	a, err := sh.call(method, path, token, body, headers...)
	if err != nil {
		sh.tb.Fatalf("%s %s: %v", method, path, err)
	}
	if a.Status != want {
		sh.tb.Fatalf("%s %s: status %d, want %d\n%s", method, path, a.Status, want, a.Body)
	}
	return a
}

func (sh *shop) login(user, role string) string {
	sh.tb.Helper()
	token, err := sh.tryLogin(user, role)
	if err != nil {
		sh.tb.Fatal(err)
	}
	return token
}

// tryLogin is login for goroutines other than the test's, which must not call Fatal.
func (sh *shop) tryLogin(user, role string) (string, error) {
	a, err := sh.call(http.MethodPost, "/v1/login", "", fmt.Sprintf(`{"user":%q,"role":%q}`, user, role))
	if err != nil {
		return "", fmt.Errorf("login: %w", err)
	}
	var out struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(a.Body, &out); err != nil || out.Token == "" {
		return "", fmt.Errorf("login answered %d %s", a.Status, a.Body)
	}
	sh.users.Store(out.Token, user)
	return out.Token, nil
}

// product creates a SKU with units in stock through the public admin routes.
func (sh *shop) product(sku string, units int) {
	sh.tb.Helper()
	sh.must(http.StatusCreated, http.MethodPost, "/v1/admin/products", sh.admin, fmt.Sprintf(`{"sku":%q,"title":"Thing %s","price_cents":1250}`, sku, sku))
	sh.must(http.StatusOK, http.MethodPost, "/v1/admin/products/"+sku+"/inbound", sh.admin,
		fmt.Sprintf(`{"quantity":%d,"reference":"first-%s","reason":"test"}`, units, sku))
}

func (sh *shop) available(sku string) int64 {
	sh.tb.Helper()
	var p inventoryapi.Product
	// no-cache: not an answer of a second ago
	a := sh.must(http.StatusOK, http.MethodGet, "/v1/products/"+sku, "", "", "Cache-Control", "no-cache")
	if err := json.Unmarshal(a.Body, &p); err != nil {
		sh.tb.Fatal(err)
	}
	return p.Available
}

// place orders one unit of the SKU.
func (sh *shop) place(token, key, sku string) (answer, error) {
	return sh.call(http.MethodPost, "/v1/orders", token, fmt.Sprintf(`{"items":[{"sku":%q,"quantity":1}]}`, sku), "Idempotency-Key", key)
}

// placeAdmitted orders one unit and retries after a 429.
func (sh *shop) placeAdmitted(token, key, sku string) (answer, error) {
	return admitted(func() (answer, error) { return sh.place(token, key, sku) })
}

// admitted repeats a request after a 429, with the same key and after the time that the answer names.
func admitted(send func() (answer, error)) (answer, error) {
	for deadline := time.Now().Add(time.Minute); ; {
		a, err := send()
		if err != nil || a.Status != http.StatusTooManyRequests || time.Now().After(deadline) {
			return a, err
		}
		seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
		if err != nil {
			return a, fmt.Errorf("a 429 without a Retry-After in seconds: %w", err)
		}
		time.Sleep(time.Duration(seconds) * time.Second)
	}
}

func (sh *shop) mustPlace(token, key, sku string) orderapi.Order {
	sh.tb.Helper()
	a, err := sh.place(token, key, sku)
	if err != nil || a.Status != http.StatusCreated {
		sh.tb.Fatalf("place: %v, status %d\n%s", err, a.Status, a.Body)
	}
	return a.order(sh.tb)
}

// audit repeats the audit until nothing is unsettled, and returns the last report.
func (sh *shop) audit(d time.Duration) check.Report {
	sh.tb.Helper()
	var r check.Report
	var begin time.Time
	testkit.Eventually(sh.tb, d, "the audit finds the shop at rest", func() error {
		r, begin = check.Report{}, time.Now()
		a, err := sh.call(http.MethodGet, "/v1/admin/audit", sh.admin, "")
		if err != nil {
			return err
		}
		if a.Status != http.StatusOK {
			return fmt.Errorf("status %d: %s", a.Status, a.Body)
		}
		if err := json.Unmarshal(a.Body, &r); err != nil {
			return err
		}
		if len(r.Violations) > 0 {
			sh.tb.Fatalf("violations: %v", r.Violations)
		}
		if len(r.Unsettled) > 0 {
			return fmt.Errorf("unsettled: %v", r.Unsettled)
		}
		return nil
	})
	sh.history.AtRest(begin)
	return r
}

func (sh *shop) status(orderNo string) string {
	sh.tb.Helper()
	var s string
	err := sh.ordersDB.QueryRow("SELECT status FROM orders WHERE order_no = ?", orderNo).Scan(&s)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		sh.tb.Fatal(err)
	}
	return s
}
