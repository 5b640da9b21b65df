package rest_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gin-gonic/gin"

	"holdfast/pkg/config"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/rest"
	"holdfast/pkg/web"
)

// replica serves what takes the given credential, with pkg/web, and counts what it executed.
func replica(tb testing.TB, credential string, executed *atomic.Int64) string {
	tb.Helper()
	e := web.NewEngine(web.EngineConfig{Log: slog.New(slog.DiscardHandler), Credentials: []config.Secret{config.Secret(credential)}})
	e.POST("/stock", func(c *gin.Context) { executed.Add(1); c.Status(http.StatusNoContent) })
	return serve(tb, e.ServeHTTP).URL
}

// TestDo_credential sends the credential with each call, also by a client with headers of its own, which cannot replace
// it.
func TestDo_credential(t *testing.T) {
	t.Parallel()
	credential := strings.Repeat("k", 32)
	var executed atomic.Int64
	c := client(t, rest.Config{URLs: []string{replica(t, credential, &executed)}, Credential: config.Secret(credential)})
	for _, c := range []*rest.Client{c, c.With(rest.Header("X-User-ID", "ann")), c.With(rest.Header(header.Credential, "theirs"))} {
		if err := c.Do(t.Context(), http.MethodPost, "/stock", struct{}{}, nil); err != nil {
			t.Error(err)
		}
	}
	if shown := fmt.Sprintf("%v %+v %#v", c, c, rest.Config{Credential: config.Secret(credential)}.Credential); strings.Contains(shown, credential) {
		t.Error("printing shows the credential")
	}
}

// TestDo_credentialRefused: the fault is ours, not our caller's, and another replica may accept what one refuses.
func TestDo_credentialRefused(t *testing.T) {
	t.Parallel()
	next, last := strings.Repeat("n", 32), strings.Repeat("l", 32)
	var executed atomic.Int64
	c := client(t, rest.Config{URLs: []string{replica(t, last, &executed)}, Credential: config.Secret(next)})
	err := c.Do(t.Context(), http.MethodPost, "/stock", struct{}{}, nil)
	wantFault(t, err, "stock_srv_unavailable", fault.Unavailable, false)
	if err == nil || !strings.Contains(err.Error(), "service_credential") {
		t.Errorf("the cause is missing: %v", err)
	}
	c = client(t, rest.Config{URLs: []string{replica(t, last, &executed), replica(t, next, &executed)}, Credential: config.Secret(next)})
	for range 4 {
		if err := c.Do(t.Context(), http.MethodPost, "/stock", struct{}{}, nil); err != nil {
			t.Errorf("with a replica that accepts it: %v", err)
		}
	}
	if n := executed.Load(); n != 4 {
		t.Errorf("%d calls were executed, want 4", n)
	}
}
