package web_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"holdfast/pkg/config"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/web"
)

// TestCredential has every route, unknown ones too, ask for one of two credentials.
func TestCredential(t *testing.T) {
	t.Parallel()
	one, two := strings.Repeat("1", 32), strings.Repeat("2", 32)
	var served atomic.Int64
	url := serve(t, web.EngineConfig{Credentials: []config.Secret{config.Secret(one), config.Secret(two)}}, func(e *gin.Engine) {
		e.POST("/stock", func(c *gin.Context) { served.Add(1); c.Status(http.StatusNoContent) })
	})
	for _, request := range [][2]string{{"POST", "/stock"}, {"GET", "/stock"}, {"GET", "/nothing"}, {"POST", "/"}} {
		for _, credential := range []string{"", one[1:], one + "1", one + "," + two, "Bearer " + one} {
			headers := []string{}
			if credential != "" {
				headers = append(headers, header.Credential, credential)
			}
			res, body := do(t, request[0], url+request[1], "{}", headers...)
			p := problemOf(t, res, body)
			if res.StatusCode != http.StatusUnauthorized || p.Code != "service_credential" || p.Kind != fault.Unauthenticated || p.Ambiguous {
				t.Errorf("%v with %q: got %d %s, want 401 service_credential, not executed", request, credential, res.StatusCode, body)
			}
			if strings.Contains(body, one[1:]) {
				t.Errorf("the answer shows a credential: %s", body)
			}
		}
	}
	if n := served.Load(); n != 0 {
		t.Errorf("%d refused requests were served", n)
	}
	for _, credential := range []string{one, two} {
		if res, body := do(t, "POST", url+"/stock", "{}", header.Credential, credential); res.StatusCode != http.StatusNoContent {
			t.Errorf("with an accepted value: %d %s", res.StatusCode, body)
		}
		if res, _ := do(t, "GET", url+"/nothing", "", header.Credential, credential); res.StatusCode != http.StatusNotFound {
			t.Errorf("an unknown route with an accepted value: %d, want 404", res.StatusCode)
		}
	}
}

// unread is a body that must not be asked for.
type unread struct{ asked atomic.Bool }

func (u *unread) Read([]byte) (int, error) {
	u.asked.Store(true)
	return 0, io.EOF
}

// TestCredential_bodyUnread has a refused caller wait for leave to send its body, which it does not get.
func TestCredential_bodyUnread(t *testing.T) {
	t.Parallel()
	url := serve(t, web.EngineConfig{Credentials: []config.Secret{config.Secret(strings.Repeat("1", 32))}}, func(e *gin.Engine) {
		e.POST("/stock", func(c *gin.Context) { _, _ = io.ReadAll(c.Request.Body) })
	})
	transport := &http.Transport{ExpectContinueTimeout: time.Minute}
	t.Cleanup(transport.CloseIdleConnections)
	body := &unread{}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/stock", body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = 1 << 10
	req.Header.Set("Expect", "100-continue")
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusUnauthorized || body.asked.Load() {
		t.Errorf("got %d, the body was asked for: %v; want 401 before that", res.StatusCode, body.asked.Load())
	}
}
