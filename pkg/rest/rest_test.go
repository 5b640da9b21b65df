package rest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/rest"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type answer struct {
	Text string `json:"text"`
}

// serve starts a server; its connections are gone when the test is.
func serve(tb testing.TB, h http.HandlerFunc) *httptest.Server {
	tb.Helper()
	s := httptest.NewServer(h)
	tb.Cleanup(s.Close)
	return s
}

func client(tb testing.TB, cfg rest.Config) *rest.Client {
	tb.Helper()
	if cfg.Name == "" {
		cfg.Name = "stock-srv"
	}
	c, err := rest.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// refusing returns the URL of a port without a listener.
func refusing(tb testing.TB) string {
	tb.Helper()
	return "http://" + testkit.RefusingAddr(tb)
}

func wantFault(tb testing.TB, err error, code string, kind fault.Kind, ambiguous bool) {
	tb.Helper()
	f := fault.From(err)
	if f == nil || f.Code != code || f.Kind != kind || f.Ambiguous != ambiguous {
		tb.Errorf("got %v (%+v), want %s, kind %s, ambiguous %v", err, f, code, kind, ambiguous)
	}
}

func TestNew_refusesBadURLs(t *testing.T) {
	t.Parallel()
	for _, urls := range [][]string{
		nil, {""}, {"order-srv:8081"}, {"https://order-srv"}, {"http://"}, {"http://a?b=c"}, {"http://u:p@a"}, {"http://a", "::"},
	} {
		if _, err := rest.New(rest.Config{URLs: urls, Name: "order"}); err == nil {
			t.Errorf("%q was accepted", urls)
		}
	}
	_, err := rest.New(rest.Config{URLs: []string{"http://u:hush@a"}, Name: "order"})
	if err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v, which must not show the password", err)
	}
}

func TestClient_Do_sendsAndDecodes(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		ms, err := strconv.Atoi(r.Header.Get(header.Deadline))
		if err != nil || ms < 1 || ms > 2000 {
			t.Errorf("%s = %q, want at most the timeout's 2000", header.Deadline, r.Header.Get(header.Deadline))
		}
		if r.Header.Get("Idempotency-Key") != "" {
			t.Error("an Idempotency-Key was sent")
		}
		_, _ = fmt.Fprintf(w, `{"text":%q}`, strings.Join([]string{
			r.Method, r.URL.String(), string(body), r.Header.Get("Content-Type"), r.Header.Get(header.RequestID), r.Header.Get("X-User-ID"),
		}, " "))
	})
	c := client(t, rest.Config{URLs: []string{s.URL + "/base"}, Timeout: 2 * time.Second})
	ctx := telemetry.WithRequestID(t.Context(), "r1")
	var got answer
	if err := c.With(rest.Header("X-User-ID", "ann")).Do(ctx, "POST", "/v1/a%2Fb?x=1", answer{"hi"}, &got); err != nil {
		t.Fatal(err)
	}
	if want := `POST /base/v1/a%2Fb?x=1 {"text":"hi"} application/json r1 ann`; got.Text != want {
		t.Errorf("got  %s\nwant %s", got.Text, want)
	}
	if err := c.Do(ctx, "POST", "/v1/x", nil, &got); err != nil || got.Text != "POST /base/v1/x   r1 " {
		t.Errorf("the parent client was changed by With: %q, %v", got.Text, err)
	}
	if err := c.Do(ctx, "GET", "/", nil, nil); err != nil {
		t.Errorf("an answer nobody wants: %v", err)
	}
}

func TestClient_Do_sendsWhatRemains(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"text":%q}`, r.Header.Get(header.Deadline))
	})
	c := client(t, rest.Config{URLs: []string{s.URL}, Timeout: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var got answer
	if err := c.Do(ctx, "GET", "/", nil, &got); err != nil {
		t.Fatal(err)
	}
	if ms, err := strconv.Atoi(got.Text); err != nil || ms > 3000 || ms < 1 {
		t.Errorf("sent %q, want what remains of 3000 ms", got.Text)
	}
	if err := c.With(rest.Timeout(2*time.Second)).Do(t.Context(), "GET", "/", nil, &got); err != nil {
		t.Fatal(err)
	}
	if ms, err := strconv.Atoi(got.Text); err != nil || ms > 2000 || ms < 1 {
		t.Errorf("with a timeout of its own the call has %q ms", got.Text)
	}
}

func TestClient_Do_problemsRoundTrip(t *testing.T) {
	t.Parallel()
	sent := []*fault.Error{
		fault.New(fault.Conflict, "out_of_stock", "not enough stock").With("short", []any{map[string]any{"sku": "A"}}),
		fault.New(fault.Contended, "contended", "ask again"),
		fault.New(fault.Unavailable, "broker_unavailable", "no broker").NotExecuted(),
		fault.New(fault.Unavailable, "commit_unknown", "who knows"),
		fault.New(fault.Conflict, "odd", "a refusal that may have been executed").MaybeExecuted(),
		fault.ErrInternal, fault.ErrTimeout,
		fault.New(fault.Mismatch, "mismatch", "other lines"), fault.New(fault.TooLarge, "body_too_large", "too large"),
	}
	e := web.NewEngine(web.EngineConfig{Log: telemetry.NewLogger(io.Discard, "test")})
	e.GET("/:n", web.Handle(func(c *gin.Context) (int, any, error) {
		n, _ := strconv.Atoi(c.Param("n"))
		return 0, nil, fmt.Errorf("deep inside: %w", sent[n])
	}))
	s := serve(t, e.ServeHTTP)
	c := client(t, rest.Config{URLs: []string{s.URL}})
	for i, want := range sent {
		err := c.Do(t.Context(), "GET", fmt.Sprintf("/%d", i), nil, nil)
		got := fault.From(err)
		if !errors.Is(err, want) || got.Kind != want.Kind || got.Ambiguous != want.Ambiguous || got.Text != want.Text {
			t.Errorf("sent %+v, got %+v", want, got)
		}
		if diff := cmp.Diff(want.Details, got.Details); diff != "" {
			t.Errorf("%s: details: %s", want.Code, diff)
		}
	}
}

// TestClient_Do_noClearAnswer lists what a broken service, or a proxy in between, may say. Whatever it is, the
// operation may have been executed.
func TestClient_Do_noClearAnswer(t *testing.T) {
	t.Parallel()
	write := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
	}{
		{"cut before the header", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"cut within the body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"text":"ha`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
		{"not JSON", write(200, "application/json", `<html>`)},
		{"empty", write(200, "application/json", ``)},
		{"5xx plain", write(500, "text/plain", `oh no`)},
		{"5xx JSON that is no problem", write(502, "application/json", `{"code":"closed","kind":"closed"}`)},
		{"5xx without body", write(503, "", ``)},
		{"4xx plain", write(404, "text/html", `no such page`)},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}},
		{"broken problem", write(409, "application/problem+json", `{"code":`)},
		{"problem without code", write(409, "application/problem+json", `{"kind":"conflict"}`)},
		{"too large", func(w http.ResponseWriter, _ *http.Request) {
			chunk := []byte(`"` + strings.Repeat("x", 1<<20))
			for range 33 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				tt.handler(w, r)
			})
			// Two URLs: a request that was sent must not go on to the next one.
			c := client(t, rest.Config{URLs: []string{s.URL, s.URL + "/"}})
			var out answer
			err := c.Do(t.Context(), "POST", "/", answer{"hi"}, &out)
			wantFault(t, err, "stock_srv_unavailable", fault.Unavailable, true)
			if n := calls.Load(); n != 1 {
				t.Errorf("the request was sent %d times", n)
			}
		})
	}
}

func TestClient_Do_problemWithoutTheMark(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Query().Get("status"))
		w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"code":"some","kind":"conflict","detail":"text"}`)
	})
	c := client(t, rest.Config{URLs: []string{s.URL}})
	wantFault(t, c.Do(t.Context(), "GET", "/?status=500", nil, nil), "some", fault.Conflict, true)
	wantFault(t, c.Do(t.Context(), "GET", "/?status=409", nil, nil), "some", fault.Conflict, false)
}

func TestClient_Do_refusedIsNotExecuted(t *testing.T) {
	t.Parallel()
	c := client(t, rest.Config{URLs: []string{refusing(t), refusing(t)}})
	wantFault(t, c.Do(t.Context(), "POST", "/", answer{}, nil), "stock_srv_unavailable", fault.Unavailable, false)
}

func TestClient_Do_deadline(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then net/http notices that the client is gone
		<-r.Context().Done()
	})
	c := client(t, rest.Config{URLs: []string{s.URL}, Timeout: 50 * time.Millisecond})
	wantFault(t, c.Do(t.Context(), "POST", "/", answer{}, nil), "stock_srv_timeout", fault.Timeout, true)

	patient := client(t, rest.Config{URLs: []string{s.URL}, Timeout: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantFault(t, patient.Do(ctx, "POST", "/", answer{}, nil), "stock_srv_timeout", fault.Timeout, true)
	// Passed before it began.
	wantFault(t, patient.Do(ctx, "POST", "/", answer{}, nil), "stock_srv_timeout", fault.Timeout, false)

	gone, giveUp := context.WithCancel(t.Context())
	giveUp()
	wantFault(t, patient.Do(gone, "POST", "/", answer{}, nil), "canceled", fault.Timeout, false)
}

// TestClient_Do_answerAtTheDeadline has the service use all of the time that it is given and then say that nothing was
// executed. That answer must arrive before the client stops waiting.
func TestClient_Do_answerAtTheDeadline(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		ms, err := strconv.Atoi(r.Header.Get(header.Deadline))
		if err != nil {
			t.Error(err)
		}
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusGatewayTimeout)
		_, _ = fmt.Fprint(w, `{"code":"timeout","kind":"timeout","ambiguous":false}`)
	})
	c := client(t, rest.Config{URLs: []string{s.URL}, Timeout: 2 * time.Second})
	var errs [8]error
	var calls sync.WaitGroup
	for i := range errs {
		calls.Go(func() { errs[i] = c.Do(t.Context(), "POST", "/", answer{}, nil) })
	}
	calls.Wait()
	definite := 0
	for _, err := range errs {
		if f := fault.From(err); f.Code == "timeout" && !f.Ambiguous {
			definite++
		}
	}
	if definite < len(errs)/2 { // a busy machine may be late for some
		t.Errorf("%d of %d answers arrived: %v", definite, len(errs), errs)
	}
}

func TestClient_Do_unencodable(t *testing.T) {
	t.Parallel()
	c := client(t, rest.Config{URLs: []string{refusing(t)}})
	wantFault(t, c.Do(t.Context(), "POST", "/", make(chan int), nil), "internal", fault.Internal, false)
}

func TestHeader_refusesIdempotencyKey(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("Idempotency-Key was accepted")
		}
	}()
	rest.Header("idempotency-key", "k")
}

func TestClient_Do_nameWithoutAddress(t *testing.T) {
	t.Parallel()
	for name, lookup := range map[string]func(context.Context, string) ([]netip.Addr, error){
		"unknown": func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") },
		"empty":   func(context.Context, string) ([]netip.Addr, error) { return nil, nil },
	} {
		c := client(t, rest.Config{URLs: []string{"http://stock:1"}, Lookup: lookup})
		err := c.Do(t.Context(), "POST", "/", nil, nil)
		wantFault(t, err, "stock_srv_unavailable", fault.Unavailable, false)
		if err == nil || !strings.Contains(err.Error(), "stock") {
			t.Errorf("%s: %v does not name the host", name, err)
		}
	}
}

// TestClient_Do_neverSendsTwice closes a kept-alive connection after it has read the second request on it: the very
// case in which Go's transport repeats a request that it believes repeatable.
func TestClient_Do_neverSendsTwice(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if calls.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
	})
	c := client(t, rest.Config{URLs: []string{s.URL}})
	if err := c.Do(t.Context(), "POST", "/", answer{"one"}, nil); err != nil {
		t.Fatal(err)
	}
	err := c.Do(t.Context(), "POST", "/", answer{"two"}, nil)
	wantFault(t, err, "stock_srv_unavailable", fault.Unavailable, true)
	if n := calls.Load(); n != 2 {
		t.Errorf("the server saw %d requests, want 2", n)
	}
}
