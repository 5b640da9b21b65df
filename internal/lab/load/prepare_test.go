package load_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/load"
	"holdfast/internal/lab/shop"
	"holdfast/pkg/fault"
)

// gateway is a fake of the gateway's administration. It refuses the request that begins with refuse.
type gateway struct {
	refuse string

	mu       sync.Mutex
	requests []string // method, path and body
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	if r.Method != http.MethodGet {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	request := r.Method + " " + r.URL.Path
	answer := `{}`
	switch {
	case g.refuse != "" && strings.HasPrefix(request, g.refuse):
		w.WriteHeader(http.StatusConflict)
		answer = `{"code":"refused","kind":"conflict"}`
	case r.URL.Path == "/v1/login":
		answer = fmt.Sprintf(`{"token":"%s of %s"}`, body["role"], body["user"])
	case r.URL.Path == "/v1/admin/strategies":
		answer = `{"default":"redis","strategies":[{"name":"plain","layout":"row"},{"name":"redis","layout":"cached"}]}`
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.URL.Path != "/v1/login" {
		request += fmt.Sprint(" ", body["sku"], " ", body["layout"], " ", body["amount_cents"], " ", body["reference"])
		g.requests = append(g.requests, strings.ReplaceAll(request, " <nil>", ""))
	}
	_, _ = w.Write([]byte(answer))
}

// seen returns the requests, without the logins.
func (g *gateway) seen() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.requests)
}

func newGateway(t *testing.T, refuse string) (*gateway, *shop.Client) {
	t.Helper()
	g := &gateway{refuse: refuse}
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	return g, &shop.Client{URL: s.URL, Token: "admin"}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	for strategy, layout := range map[string]string{"plain": "row", "redis": "cached", "": "cached"} { // "" is the default
		g, admin := newGateway(t, "")
		to, skus, err := load.Prepare(t.Context(), admin, "X", strategy, 2)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(skus, []string{"X-1", "X-2"}) || "http://"+to.Addr != admin.URL || to.Name != "X" || to.Strategy != strategy {
			t.Errorf("products %q and the target %+v", skus, to)
		}
		if len(to.Tokens) != 10 || to.Tokens[0] != "buyer of load-0" || to.Tokens[9] != "buyer of load-9" {
			t.Errorf("the tokens are %q", to.Tokens)
		}
		want := []string{"GET /v1/admin/strategies"}
		for _, sku := range skus { // units come in when the layout that they are to have is known
			want = append(want, "POST /v1/admin/products "+sku, "PUT /v1/admin/products/"+sku+"/layout "+layout,
				"POST /v1/admin/products/"+sku+"/inbound load-"+sku)
		}
		if diff := cmp.Diff(want, g.seen()); diff != "" {
			t.Errorf("strategy %q (-want +got):\n%s", strategy, diff)
		}
	}
}

// TestPrepare_refused: the first refusal ends the preparation, and a caller can recognise it.
func TestPrepare_refused(t *testing.T) {
	t.Parallel()
	for refuse, requests := range map[string]int{
		"GET /v1/admin/strategies":            1,
		"POST /v1/admin/products":             2,
		"PUT /v1/admin/products/X-1/layout":   3,
		"PUT /v1/admin/products/X-2/layout":   6,
		"POST /v1/admin/products/X-2/inbound": 7,
		"POST /v1/login":                      7,
	} {
		g, admin := newGateway(t, refuse)
		_, _, err := load.Prepare(t.Context(), admin, "X", "plain", 2)
		if refused, ok := errors.AsType[*fault.Error](err); !ok || refused.Code != "refused" {
			t.Errorf("%s is refused: error %v", refuse, err)
		}
		if len(g.seen()) != requests {
			t.Errorf("%s is refused: %d requests, want %d: %q", refuse, len(g.seen()), requests, g.seen())
		}
	}
}

// TestPrepare_impossible: what cannot be measured is an error before anything is created. The load's own client speaks
// no TLS.
func TestPrepare_impossible(t *testing.T) {
	t.Parallel()
	g, admin := newGateway(t, "")
	if _, _, err := load.Prepare(t.Context(), admin, "X", "no-such", 1); err == nil {
		t.Error("an unknown strategy has a layout")
	}
	if len(g.seen()) != 1 {
		t.Errorf("requests for an unknown strategy: %q", g.seen())
	}
	for _, url := range []string{"127.0.0.1:8080", "http://", "http://a b/", ""} {
		if to, _, err := load.Prepare(t.Context(), &shop.Client{URL: url}, "X", "plain", 1); err == nil {
			t.Errorf("%q is a target: %+v", url, to)
		}
	}
	g = &gateway{}
	s := httptest.NewTLSServer(g)
	t.Cleanup(s.Close)
	if _, _, err := load.Prepare(t.Context(), &shop.Client{URL: s.URL, HTTP: s.Client()}, "X", "plain", 1); err == nil || len(g.seen()) != 0 {
		t.Errorf("with TLS: error %v after %q", err, g.seen())
	}
}

// TestCredit: each buyer gets the money once, by a reference of its own: the wallet would take ten credits with one
// reference for repeats.
func TestCredit(t *testing.T) {
	t.Parallel()
	g, admin := newGateway(t, "")
	if err := load.Credit(t.Context(), admin, 500, "R"); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprintf("POST /v1/admin/wallets/load-%d/credits 500 R-load-%d", i, i))
	}
	if diff := cmp.Diff(want, g.seen()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	g, admin = newGateway(t, "POST /v1/admin/wallets/load-3")
	err := load.Credit(t.Context(), admin, 500, "R")
	if refused, ok := errors.AsType[*fault.Error](err); !ok || refused.Code != "refused" || len(g.seen()) != 4 {
		t.Errorf("error %v after %d requests, want the refusal of the fourth", err, len(g.seen()))
	}
}
