package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/api-gateway/internal/gateway"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
	"holdfast/order-srv/orderapi/apitest"
	"holdfast/order-srv/walletapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/rest"
	"holdfast/pkg/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a secret of thirty-two bytes or more"

// backend is a fake service: it answers with what the test put there and remembers what it was asked.
type backend struct {
	url string

	mu      sync.Mutex
	answers map[string]any // by "METHOD /path"; a *fault.Error becomes a problem
	status  int            // of a success; 0 is 200
	hang    bool           // no answer until the caller is gone
	calls   []call
}

type call struct {
	route  string
	header http.Header
	body   string
}

func newBackend(tb testing.TB, answers map[string]any) *backend {
	tb.Helper()
	b := &backend{answers: answers}
	s := httptest.NewServer(apitest.Batches(b))
	b.url = s.URL
	tb.Cleanup(s.Close)
	return b
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	route := r.Method + " " + r.URL.Path
	if r.URL.RawQuery != "" {
		route += "?" + r.URL.RawQuery
	}
	b.mu.Lock()
	b.calls = append(b.calls, call{route, r.Header.Clone(), string(body)})
	answer, known := b.answers[route]
	status, hang := b.status, b.hang
	b.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return
	}
	if !known {
		answer = fault.New(fault.Internal, "unexpected", "the fake was not told about "+route)
	}
	if f, isFault := answer.(*fault.Error); isFault {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(web.Status(f.Kind))
		_ = json.NewEncoder(w).Encode(fault.ToProblem(f))
		return
	}
	if status != 0 {
		w.WriteHeader(status)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (b *backend) seen() []call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]call(nil), b.calls...)
}

// options change the door that a test opens.
type options struct {
	noLogin bool
	lab     bool
	timeout time.Duration
	orders  string         // URL instead of the fake's
	wallet  map[string]any // answers of the wallet
	gather  bool           // orders that come together share calls

	maxWaiting int
	stopping   <-chan struct{}
}

// door is a gateway in front of three fakes.
type door struct {
	tb        testing.TB
	url       string
	client    *http.Client
	tokens    *gateway.Tokens
	orders    *backend
	inventory *backend
	wallet    *backend
}

func open(tb testing.TB, o options, orders, inventory map[string]any) *door {
	tb.Helper()
	d := &door{
		tb: tb, tokens: gateway.NewTokens(secret, time.Now),
		orders: newBackend(tb, orders), inventory: newBackend(tb, inventory), wallet: newBackend(tb, o.wallet),
	}
	if o.timeout == 0 {
		o.timeout = 5 * time.Second
	}
	if o.orders == "" {
		o.orders = d.orders.url
	}
	client := orderapi.NewClient(newClient(tb, "order", o.orders, o.timeout))
	var gatherer *orderapi.Gatherer
	if o.gather {
		gatherer = orderapi.NewGatherer(client, o.timeout)
		tb.Cleanup(func() { _ = gatherer.Close() })
	}
	s := httptest.NewServer(gateway.New(gateway.Config{
		Orders: client, Gatherer: gatherer,
		Inventory: inventoryapi.NewClient(newClient(tb, "inventory", d.inventory.url, o.timeout)),
		Wallet:    walletapi.NewClient(newClient(tb, "wallet", d.wallet.url, o.timeout)),
		Tokens:    d.tokens, DemoLogin: !o.noLogin, Lab: o.lab, MaxWaiting: o.maxWaiting, Stopping: o.stopping,
		Engine: web.EngineConfig{Log: slog.New(slog.DiscardHandler), Timeout: o.timeout, MaxBody: gateway.MaxBody, Waiting: gateway.Waiting()},
	}))
	tb.Cleanup(s.Close)
	d.url = s.URL
	transport := &http.Transport{}
	tb.Cleanup(transport.CloseIdleConnections)
	d.client = &http.Client{Transport: transport}
	return d
}

func newClient(tb testing.TB, name, url string, timeout time.Duration) *rest.Client {
	tb.Helper()
	c, err := rest.New(rest.Config{Name: name, URLs: []string{url}, Timeout: timeout})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// token returns a header line for a caller, "Authorization: Bearer …".
func (d *door) token(user, role string) string {
	d.tb.Helper()
	t, err := d.tokens.Issue(gateway.Caller{User: user, Role: role})
	if err != nil {
		d.tb.Fatal(err)
	}
	return "Authorization: Bearer " + t
}

// answer is the gateway's.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a JSON request; headers are lines, "Name: value", and may repeat or replace the content type.
func (d *door) do(method, path, body string, headers ...string) answer {
	d.tb.Helper()
	req, err := http.NewRequestWithContext(d.tb.Context(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		d.tb.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	if body != "" && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := d.client.Do(req)
	if err != nil {
		d.tb.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.tb.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

// problem checks that a is one, whole, and returns it.
func (d *door) problem(a answer) fault.Problem {
	d.tb.Helper()
	var p fault.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.header.Get("Content-Type") != "application/problem+json" {
		d.tb.Fatalf("no problem: %d %s %q (%v)", a.status, a.header.Get("Content-Type"), a.body, err)
	}
	if p.Status != a.status || p.RequestID == "" || p.RequestID != a.header.Get(header.RequestID) {
		d.tb.Errorf("status %d, problem %+v, request id header %q", a.status, p, a.header.Get(header.RequestID))
	}
	return p
}

func (d *door) wantUntouched() {
	d.tb.Helper()
	for _, c := range slices.Concat(d.orders.seen(), d.inventory.seen(), d.wallet.seen()) {
		d.tb.Errorf("a back end was asked %s %s", c.route, c.body)
	}
}

func items(n int) string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"sku":"S-%d","quantity":1}`, i)
	}
	return `{"items":[` + strings.Join(lines, ",") + `]}`
}
