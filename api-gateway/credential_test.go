package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/header"
)

// TestRun_ServiceCredential has a client send a credential of its own. The services get the gateway's with each call,
// and their refusal is not the client's.
func TestRun_ServiceCredential(t *testing.T) {
	t.Parallel()
	current, next := strings.Repeat("c", 32), strings.Repeat("n", 32)
	got := make(chan string, 100)
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" { // of the readiness check
			got <- strings.Join(r.Header.Values(header.Credential), " and ")
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"code":"service_credential","kind":"unauthenticated","detail":"no","ambiguous":false}`)
	}))
	t.Cleanup(back.Close)
	vars := map[string]string{
		"DEMO_LOGIN": "true", "HTTP_ADDR": "127.0.0.1:0", "OPS_ADDR": "127.0.0.1:0", "DRAIN_DELAY": "0s",
		"INVENTORY_URLS": back.URL, "ORDER_URLS": back.URL, "SERVICE_CREDENTIAL": current + "," + next,
	}
	ctx, stop := context.WithCancel(context.Background())
	var log testkit.Buffer
	done := make(chan error, 1)
	go func() { done <- run(ctx, nil, env(vars), &log) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	addr, _ := serving(t, &log)

	send := func(method, path, body, token string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Idempotency-Key", "k")
		req.Header.Set(header.Credential, next)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		answer, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(answer)
	}
	_, answer := send(http.MethodPost, "/v1/login", `{"user":"ann","role":"admin"}`, "")
	var login struct{ Token string }
	if err := json.Unmarshal([]byte(answer), &login); err != nil || login.Token == "" {
		t.Fatalf("login: %s", answer)
	}
	for _, request := range [][3]string{
		{"GET", "/v1/products", ""},
		{"GET", "/v1/orders", ""},
		{"POST", "/v1/orders", `{"items":[{"sku":"A","quantity":1}]}`},
		{"POST", "/v1/admin/products/A/inbound", `{"quantity":1,"reference":"r"}`},
	} {
		status, answer := send(request[0], request[1], request[2], login.Token)
		if status != http.StatusServiceUnavailable {
			t.Errorf("%s: got %d %s, want 503: the client's token is good", request[1], status, answer)
		}
		select {
		case credential := <-got:
			if credential != current {
				t.Errorf("%s: the service got the credential %q, want the gateway's first", request[1], credential)
			}
		default:
			t.Errorf("%s: no call reached a service: %d %s", request[1], status, answer)
		}
	}
	if strings.Contains(log.String(), current) || strings.Contains(log.String(), next) {
		t.Error("the log shows a credential")
	}
}
