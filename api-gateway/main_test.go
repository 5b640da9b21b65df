package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/server"
)

func env(vars map[string]string) func(string) string { return func(k string) string { return vars[k] } }

func TestRun_refuses(t *testing.T) {
	t.Parallel()
	demo := map[string]string{"DEMO_LOGIN": "true", "LAB_MODE": "true", "ORDER_URLS": "order-srv:8081", "INVENTORY_URLS": "https://x"}
	err := run(t.Context(), nil, env(demo), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "client of order") || !strings.Contains(err.Error(), "client of inventory") {
		t.Errorf("bad URLs: got %v, want both named", err)
	}
	if err := run(t.Context(), []string{"migrate"}, env(map[string]string{"DEMO_LOGIN": "true", "LAB_MODE": "true"}), io.Discard); err == nil {
		t.Error("an unknown command was accepted")
	}
}

// serving waits for the line that tells the addresses.
func serving(tb testing.TB, log *testkit.Buffer) (addr, opsAddr string) {
	tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for line := range strings.Lines(log.String()) {
			var m struct {
				Msg     string `json:"msg"`
				Addr    string `json:"addr"`
				OpsAddr string `json:"ops_addr"`
			}
			if json.Unmarshal([]byte(line), &m) == nil && m.Msg == "serving" {
				return m.Addr, m.OpsAddr
			}
		}
	}
	tb.Fatalf("not serving:\n%s", log.String())
	return "", ""
}

// TestRun starts the gateway as main does, with one back end that answers and one that is down. The gateway is ready,
// names the one that is down, and stops when its context ends.
func TestRun(t *testing.T) {
	t.Parallel()
	inventory := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"code":"not_found","kind":"not_found","detail":"nothing here","ambiguous":false}`)
	}))
	t.Cleanup(inventory.Close)
	down := httptest.NewServer(nil)
	down.Close()
	vars := map[string]string{
		"DEMO_LOGIN": "true", "HTTP_ADDR": "127.0.0.1:0", "OPS_ADDR": "127.0.0.1:0",
		"INVENTORY_URLS": inventory.URL, "ORDER_URLS": down.URL,
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var log testkit.Buffer
	done := make(chan error, 1)
	go func() { done <- run(ctx, nil, env(vars), &log) }()
	addr, opsAddr := serving(t, &log)

	vars["OPS_ADDR"] = opsAddr
	if err := run(t.Context(), []string{"healthcheck"}, env(vars), io.Discard); err != nil {
		t.Errorf("healthcheck: %v", err)
	}
	var ready server.Readiness
	getJSON(t, "http://"+opsAddr+"/readyz", &ready)
	if ready.Status != "ok" || ready.Checks["inventory-srv"] != "ok" || !strings.Contains(ready.Checks["order-srv"], "order_unavailable") {
		t.Errorf("readyz: %+v", ready)
	}
	var problem struct{ Code string }
	getJSON(t, "http://"+addr+"/v1/nothing", &problem)
	if problem.Code != "not_found" {
		t.Errorf("got %+v", problem)
	}
	if strings.Contains(log.String(), "demo-secret") {
		t.Error("the log shows the secret")
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
}

func getJSON(tb testing.TB, url string, out any) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		tb.Fatalf("%s: %v", url, err)
	}
}
