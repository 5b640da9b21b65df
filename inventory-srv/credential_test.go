package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/config"
	"holdfast/pkg/fault"
	"holdfast/pkg/rest"
)

const header = "X-Service-Credential"

// call sends a request and returns the status and, of a refusal, the code.
func call(t *testing.T, method, url, body, credential string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if credential != "" {
		req.Header.Set(header, credential)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var p struct {
		fault.Problem
		Ambiguous *bool `json:"ambiguous"`
	}
	_ = json.NewDecoder(res.Body).Decode(&p) // not every answer is a problem
	if p.Code != "" && (p.Ambiguous == nil || *p.Ambiguous) {
		t.Errorf("%s %s: the refusal %s does not say that nothing was executed", method, url, p.Code)
	}
	return res.StatusCode, p.Code
}

// TestRun_ServiceCredential has a caller without the credential try to add stock. Both accepted values work, and the
// operations port needs none.
func TestRun_ServiceCredential(t *testing.T) {
	t.Parallel()
	current, next := strings.Repeat("c", 32), strings.Repeat("n", 40)
	file := filepath.Join(t.TempDir(), "credential")
	if err := os.WriteFile(file, []byte(current+"\n"+next+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	vars := environment(t, stacktest.Redis(t))
	vars["SERVICE_CREDENTIAL_FILE"] = file
	if err := run(t.Context(), []string{"seed"}, getenv(vars), io.Discard); err != nil {
		t.Fatalf("seed: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, nil, getenv(vars), io.Discard) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	eventually(t, "the service answers", func() bool {
		status, _ := get(t, "http://"+vars["OPS_ADDR"]+"/readyz")
		return status != 0
	})

	inbound := "http://" + vars["HTTP_ADDR"] + "/v1/products/LAMP-LIMITED/inbound"
	body := `{"quantity":5,"reference":"STOLEN-1","reason":"gift","actor":"anybody"}`
	for _, credential := range []string{"", "guess", current[:31], current + "c", strings.ToUpper(current), config.DemoServiceCredential} {
		if status, code := call(t, http.MethodPost, inbound, body, credential); status != http.StatusUnauthorized || code != "service_credential" {
			t.Errorf("inbound with %q: got %d %s, want 401 service_credential", credential, status, code)
		}
	}
	for _, path := range []string{"/", "/v1/nothing", "/v1/products"} {
		if status, code := call(t, http.MethodGet, "http://"+vars["HTTP_ADDR"]+path, "", ""); status != http.StatusUnauthorized || code != "service_credential" {
			t.Errorf("%s: got %d %s, want 401 service_credential", path, status, code)
		}
	}
	for i, credential := range []string{current, next} {
		if status, code := call(t, http.MethodPost, inbound, strings.Replace(body, "STOLEN-1", "DELIVERY-"+credential[:1], 1), credential); status >= 300 {
			t.Errorf("inbound with accepted value %d: got %d %s", i+1, status, code)
		}
	}
	client, err := rest.New(rest.Config{URLs: []string{"http://" + vars["HTTP_ADDR"]}, Name: "inventory", Credential: config.DemoServiceCredential})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = inventoryapi.NewClient(client).Product(t.Context(), "LAMP-LIMITED")
	if f := fault.From(err); f == nil || f.Code != "inventory_unavailable" || f.Ambiguous || !strings.Contains(f.Error(), "service_credential") {
		t.Errorf("a client of ours with another credential: got %v, want inventory_unavailable because of service_credential", err)
	}
	if status, _ := call(t, http.MethodGet, "http://"+vars["OPS_ADDR"]+"/livez", "", ""); status != http.StatusOK {
		t.Errorf("the operations port: got %d, want 200 without a credential", status)
	}
}

// TestRun_ServiceCredential_refuses: off loopback the service does not start with the demo value.
func TestRun_ServiceCredential_refuses(t *testing.T) {
	t.Parallel()
	for name, vars := range map[string]map[string]string{
		"the default address, unset": {},
		"every address, unset":       {"HTTP_ADDR": "0.0.0.0:0"},
		"the demo value":             {"HTTP_ADDR": ":0", "SERVICE_CREDENTIAL": config.DemoServiceCredential},
		"the demo value beside one":  {"HTTP_ADDR": ":0", "SERVICE_CREDENTIAL": strings.Repeat("x", 32) + "," + config.DemoServiceCredential},
	} {
		vars["MYSQL_DSN"] = "root@tcp(127.0.0.1:1)/x"
		err := run(t.Context(), nil, getenv(vars), io.Discard)
		if err == nil || !strings.Contains(err.Error(), "SERVICE_CREDENTIAL: is required") {
			t.Errorf("%s: got %v, want SERVICE_CREDENTIAL named", name, err)
		}
	}
}
