package web_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"holdfast/pkg/wait"
	"holdfast/pkg/web"
)

// TestEngine_Timeouts: a route with a longer time than the others keeps its context and its connection that long.
func TestEngine_Timeouts(t *testing.T) {
	t.Parallel()
	const usual, slow = 50 * time.Millisecond, 300 * time.Millisecond
	e := web.NewEngine(web.EngineConfig{
		Log: slog.New(slog.DiscardHandler), Timeout: usual,
		Timeouts: map[web.Route]time.Duration{{Method: http.MethodGet, Pattern: "/long/:id"}: time.Minute},
	})
	handle := web.Handle(func(c *gin.Context) (int, any, error) {
		return http.StatusOK, "done", wait.Sleep(c.Request.Context(), slow)
	})
	e.GET("/long/:id", handle)
	e.GET("/usual", handle)
	s := httptest.NewUnstartedServer(e)
	s.Config.ReadTimeout, s.Config.WriteTimeout = 2*usual, 2*usual
	s.Start()
	t.Cleanup(s.Close)
	if status, _, _, body := get(t, t.Context(), s.URL+"/long/1"); status != http.StatusOK || body != `"done"` {
		t.Errorf("the long route: %d %s", status, body)
	}
	if status, _, _, body := get(t, t.Context(), s.URL+"/usual"); status != http.StatusGatewayTimeout {
		t.Errorf("another route: %d %s", status, body)
	}
}

// TestEngine_Waiting: a request that wants to wait has as much more time, on the one route where it may.
func TestEngine_Waiting(t *testing.T) {
	t.Parallel()
	const usual, slow = 50 * time.Millisecond, 300 * time.Millisecond
	e := web.NewEngine(web.EngineConfig{
		Log: slog.New(slog.DiscardHandler), Timeout: usual, Waiting: web.Route{Method: http.MethodGet, Pattern: "/waits/:id"},
	})
	handle := web.Handle(func(c *gin.Context) (int, any, error) {
		return http.StatusOK, "done", wait.Sleep(c.Request.Context(), slow)
	})
	e.GET("/waits/:id", handle)
	e.GET("/usual", handle)
	s := httptest.NewUnstartedServer(e)
	s.Config.ReadTimeout, s.Config.WriteTimeout = 2*usual, 2*usual
	s.Start()
	t.Cleanup(s.Close)
	for path, want := range map[string]int{
		"/waits/1?wait=20s": http.StatusOK, "/waits/1?wait=31s": http.StatusGatewayTimeout, "/waits/1": http.StatusGatewayTimeout,
		"/usual?wait=20s": http.StatusGatewayTimeout,
	} {
		if status, _, _, body := get(t, t.Context(), s.URL+path); status != want {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
	}
}
