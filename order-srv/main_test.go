package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/pkg/config"
	"holdfast/pkg/header"
)

func TestRun_unknownCommand(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), []string{"dance"}, func(name string) string { return map[string]string{"LAB_MODE": "true"}[name] }, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "dance") {
		t.Errorf("error %v", err)
	}
}

// TestRun_brokerDown starts the service where no broker is: it serves, says what is missing, refuses orders in time and
// without keeping their keys, and stops on a signal. Two replicas start on the same empty database at once.
func TestRun_brokerDown(t *testing.T) {
	t.Parallel()
	dsn := dbtest.NewDSN(t, nil)
	ports, err := stack.FreePorts(6)
	if err != nil {
		t.Fatal(err)
	}
	addr := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	nobody := addr(5) // neither a name server nor an inventory
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	logs := &testkit.Buffer{}
	for i := range 2 {
		env := map[string]string{
			"HTTP_ADDR": addr(2 * i), "OPS_ADDR": addr(2*i + 1), "MYSQL_DSN": dsn, "NAMESRV_ADDRS": nobody, "INVENTORY_URLS": "http://" + nobody,
			"INSTANCE_ID": fmt.Sprintf("down-%d", ports[i]),
		}
		running.Go(func() {
			if err := run(ctx, nil, func(name string) string { return env[name] }, logs); err != nil {
				t.Errorf("run: %v\n%s", err, logs)
			}
		})
	}
	for i := range 2 {
		testkit.Eventually(t, 20*time.Second, "readiness names what is missing, and only that", func() error { return ready(addr(2*i+1), "mysql") })
	}
	if status, body := call(t, http.MethodGet, "http://"+addr(0)+"/v1/orders", ""); status != http.StatusOK {
		t.Errorf("the list of orders: %d %s", status, body)
	}
	begin := time.Now()
	if status, body := place(t, addr(0)); status != http.StatusServiceUnavailable || !strings.Contains(body, "broker_unavailable") {
		t.Errorf("order: %d %s", status, body)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("the answer took %v", took)
	}
	if status, body := place(t, addr(2)); status != http.StatusServiceUnavailable {
		t.Errorf("the same order at the other replica: %d %s", status, body)
	}
	stop()
	running.Wait()
}

// TestRun_releasesUnknown: units that inventory holds for an order that orders does not have are released.
func TestRun_releasesUnknown(t *testing.T) {
	t.Parallel()
	ports, err := stack.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	addr := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	inventory := ordertest.NewInventory(t)
	inventory.Set("NOORDER", inventoryapi.StateReserved)
	inventory.SetAge("NOORDER", time.Hour)
	env := map[string]string{
		"HTTP_ADDR": addr(0), "OPS_ADDR": addr(1), "MYSQL_DSN": dbtest.NewDSN(t, nil), "NAMESRV_ADDRS": addr(2), "INVENTORY_URLS": inventory.URL,
		"REQUEST_TIMEOUT": "1s", "PENDING_GRACE": "1100ms", "SWEEP_AFTER": "1200ms", "RECONCILE_AFTER": "1300ms", "SETTLE_AFTER": "1s", "PAYMENT_TIMEOUT": "2s",
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := run(ctx, nil, func(name string) string { return env[name] }, io.Discard); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	defer running.Wait()
	defer stop()
	testkit.Eventually(t, 20*time.Second, "the units are released", func() error {
		if got := inventory.State("NOORDER"); got != inventoryapi.StateReleased {
			return fmt.Errorf("the reservation is %s", got)
		}
		return nil
	})
}

// ready returns nil when exactly the named checks are ok.
func ready(ops string, ok ...string) error {
	res, err := http.Get("http://" + ops + "/readyz")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var r struct {
		Status string
		Checks map[string]string
	}
	if err := json.NewDecoder(res.Body).Decode(&r); err != nil {
		return err
	}
	if r.Status != "ok" { // a broker or an inventory that is away is named, and reading, paying and cancelling go on
		return fmt.Errorf("the status is %s: %v", r.Status, r.Checks)
	}
	good := 0
	for _, state := range r.Checks {
		if state == "ok" {
			good++
		}
	}
	for _, name := range ok {
		if r.Checks[name] != "ok" || len(r.Checks) != 3 || good != len(ok) {
			return fmt.Errorf("checks: %v", r.Checks)
		}
	}
	return nil
}

func place(t *testing.T, addr string) (status int, body string) {
	t.Helper()
	return placeKey(t, addr, "k")
}

func placeKey(t *testing.T, addr, key string) (status int, body string) {
	t.Helper()
	return call(t, http.MethodPost, "http://"+addr+"/v1/orders", fmt.Sprintf(`{"idempotency_key":%q,"items":[{"sku":"A","quantity":1}]}`, key))
}

func get(t *testing.T, url string) string {
	t.Helper()
	_, body := call(t, http.MethodGet, url, "")
	return body
}

// call is a request by ann. headers are name, value, name, value.
func call(t *testing.T, method, url, in string, headers ...string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(header.UserID, "ann")
	for h := range slices.Chunk(headers, 2) {
		req.Header.Set(h[0], h[1])
	}
	req.Header.Set(header.Credential, config.DemoServiceCredential)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}
