package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/testkit"
	"holdfast/pkg/config"
	"holdfast/pkg/header"
)

// TestRun_ServiceCredential has a caller that names itself an administrator, and has no credential, read the orders.
func TestRun_ServiceCredential(t *testing.T) {
	t.Parallel()
	ports, err := stack.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	addr := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	current, next := strings.Repeat("c", 32), strings.Repeat("n", 32)
	env := map[string]string{
		"HTTP_ADDR": addr(0), "OPS_ADDR": addr(1), "MYSQL_DSN": dbtest.NewDSN(t, nil), "NAMESRV_ADDRS": addr(2), "INVENTORY_URLS": "http://" + addr(2),
		"SERVICE_CREDENTIAL": current + "," + next,
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
	testkit.Eventually(t, 20*time.Second, "the operations port answers without a credential", func() error { return ready(addr(1), "mysql") })
	for credential, want := range map[string]int{
		"": http.StatusUnauthorized, config.DemoServiceCredential: http.StatusUnauthorized, current: http.StatusOK, next: http.StatusOK,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr(0)+"/v1/orders", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(header.UserID, "ann")
		req.Header.Set(header.Credential, credential)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != want || want == http.StatusUnauthorized && !strings.Contains(string(body), `"code":"service_credential"`) {
			t.Errorf("with %q: %d %s, want %d", credential, res.StatusCode, body, want)
		}
	}
}

// TestRun_ServiceCredential_refuses: off loopback the service does not start with the demo value.
func TestRun_ServiceCredential_refuses(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"", "0.0.0.0:0", "[::]:0"} {
		err := run(t.Context(), nil, func(name string) string {
			return map[string]string{"HTTP_ADDR": addr, "MYSQL_DSN": "root@tcp(127.0.0.1:1)/x"}[name]
		}, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "SERVICE_CREDENTIAL: is required") {
			t.Errorf("on %q: got %v, want SERVICE_CREDENTIAL named", addr, err)
		}
	}
}
