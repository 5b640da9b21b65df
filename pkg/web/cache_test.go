package web_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/fault"
	"holdfast/pkg/web"
)

// cachedRoute serves GET /things, cached for ttl, whose handled requests are counted and call handle.
func cachedRoute(t *testing.T, ttl time.Duration, handle func(c *gin.Context, n int64) (int, any, error)) (url string, handled *atomic.Int64) {
	t.Helper()
	handled = &atomic.Int64{}
	url = serve(t, web.EngineConfig{}, func(e *gin.Engine) {
		e.GET("/things", web.Cached(ttl), web.Handle(func(c *gin.Context) (int, any, error) { return handle(c, handled.Add(1)) }))
	})
	return url + "/things", handled
}

// get returns status, ETag, Age and body. headers are names and values in turn.
func get(tb testing.TB, ctx context.Context, url string, headers ...string) (status int, etag, age, body string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", "", err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Error(err)
	}
	return res.StatusCode, res.Header.Get("ETag"), res.Header.Get("Age"), string(b)
}

func number(_ *gin.Context, n int64) (int, any, error) { return http.StatusOK, n, nil }

func TestCached(t *testing.T) {
	t.Parallel()
	url, handled := cachedRoute(t, time.Hour, number)
	status, etag, age, body := get(t, t.Context(), url)
	if status != 200 || body != "1" || etag == "" || age != "0" {
		t.Errorf("the first answer: %d %s, ETag %q, Age %q", status, body, etag, age)
	}
	if status, again, _, body := get(t, t.Context(), url); status != 200 || body != "1" || again != etag {
		t.Errorf("the second answer: %d %s, ETag %q", status, body, again)
	}
	if status, _, _, body := get(t, t.Context(), url, "If-None-Match", etag); status != 304 || body != "" {
		t.Errorf("an answer that the client has: %d %s", status, body)
	}
	if status, _, _, body := get(t, t.Context(), url, "If-None-Match", `"other"`); status != 200 || body != "1" {
		t.Errorf("an answer that the client does not have: %d %s", status, body)
	}
	if _, _, _, body := get(t, t.Context(), url+"?page=2"); body != "2" {
		t.Errorf("another query got %s", body)
	}
	if _, _, _, body := get(t, t.Context(), url, "Cache-Control", "no-cache"); body != "3" {
		t.Errorf("no-cache got %s", body)
	}
	if _, _, _, body := get(t, t.Context(), url); body != "3" || handled.Load() != 3 {
		t.Errorf("after no-cache: %s, %d handled", body, handled.Load())
	}
}

// TestCached_expires: an answer is not given when it is older than ttl.
func TestCached_expires(t *testing.T) {
	t.Parallel()
	url, _ := cachedRoute(t, 20*time.Millisecond, number)
	get(t, t.Context(), url)
	testkit.Eventually(t, 5*time.Second, "a new answer", func() error {
		if _, _, _, body := get(t, t.Context(), url); body == "1" {
			return fmt.Errorf("got %s", body)
		}
		return nil
	})
}

// TestCached_together: of many requests for one answer one is handled.
func TestCached_together(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	url, handled := cachedRoute(t, time.Hour, func(_ *gin.Context, n int64) (int, any, error) {
		<-release
		return http.StatusOK, n, nil
	})
	var running sync.WaitGroup
	var sent atomic.Int64
	for range 20 {
		running.Go(func() {
			sent.Add(1)
			if status, _, _, body := get(t, t.Context(), url); status != 200 || body != "1" {
				t.Errorf("got %d %s", status, body)
			}
		})
	}
	testkit.Eventually(t, 5*time.Second, "all are sent and one is handled", func() error {
		if sent.Load() < 20 || handled.Load() == 0 {
			return fmt.Errorf("%d sent, %d handled", sent.Load(), handled.Load())
		}
		return nil
	})
	close(release)
	running.Wait()
	if handled.Load() != 1 {
		t.Errorf("%d requests were handled", handled.Load())
	}
}

// TestCached_failures: an error is not kept, nor is the answer of a request whose client has gone; a panic leaves no
// request waiting.
func TestCached_failures(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 1)
	url, _ := cachedRoute(t, time.Hour, func(c *gin.Context, n int64) (int, any, error) {
		switch n {
		case 1:
			return 0, nil, fault.New(fault.Conflict, "planted", "planted")
		case 2:
			panic("planted")
		case 3:
			begun <- struct{}{}
			<-c.Request.Context().Done()
			return 0, nil, c.Request.Context().Err()
		}
		return http.StatusOK, n, nil
	})
	if status, etag, _, _ := get(t, t.Context(), url); status != 409 || etag != "" {
		t.Errorf("an error: %d, ETag %q", status, etag)
	}
	if status, _, _, _ := get(t, t.Context(), url); status != 500 {
		t.Errorf("a panic: %d", status)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { get(t, ctx, url) })
	<-begun
	running.Go(func() {
		if status, _, _, body := get(t, t.Context(), url); status != 200 || body != "4" {
			t.Errorf("a request that waited for another one: %d %s", status, body)
		}
	})
	hangUp()
	running.Wait()
}
