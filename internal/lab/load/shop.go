package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"holdfast/order-srv/check"
)

const (
	stock  = 100_000_000 // units, more than the load can sell
	buyers = 10          // users, as in the other load tests
)

// Shop is the client for the preparation and the audit. The load uses its own connections.
type Shop struct {
	url    string
	admin  string // token
	client *http.Client
}

// NewShop returns a client of the gateway at url.
func NewShop(url string) *Shop {
	return &Shop{url: url, client: &http.Client{Timeout: 30 * time.Second}}
}

// Target describes the orders of a load.
type Target struct {
	Addr     string // host:port
	Name     string // begins each idempotency key
	Strategy string // header X-Stock-Strategy; "" for none
	Tokens   []string
	Baskets  []string // bodies of the orders, sent in turn
}

// Basket is the body of an order of one unit of each SKU.
func Basket(skus ...string) string {
	lines := make([]string, len(skus))
	for i, sku := range skus {
		lines[i] = fmt.Sprintf(`{"sku":%q,"quantity":1}`, sku)
	}
	return `{"items":[` + strings.Join(lines, ",") + "]}"
}

// Prepare creates products, called name-1 and so on, with more stock than a load can sell, in the layout that the
// strategy needs, and the buyers' tokens. The target has no baskets yet.
func (s *Shop) Prepare(ctx context.Context, name, strategy string, products int) (t Target, skus []string, err error) {
	u, err := url.Parse(s.url)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return t, nil, fmt.Errorf("the URL %q is not of the form http://host:port", s.url)
	}
	t = Target{Addr: u.Host, Strategy: strategy, Name: name}
	if s.admin, err = s.login(ctx, "load-admin", "admin"); err != nil {
		return t, nil, err
	}
	layout, err := s.layout(ctx, strategy)
	if err != nil {
		return t, nil, err
	}
	for i := range products {
		sku := fmt.Sprintf("%s-%d", name, i+1)
		if err := s.create(ctx, sku, layout); err != nil {
			return t, nil, err
		}
		skus = append(skus, sku)
	}
	for i := range buyers {
		token, err := s.login(ctx, fmt.Sprintf("load-%d", i), "buyer")
		if err != nil {
			return t, nil, err
		}
		t.Tokens = append(t.Tokens, token)
	}
	return t, skus, nil
}

func (s *Shop) create(ctx context.Context, sku, layout string) error {
	for _, call := range []struct {
		method, path string
		in           any
	}{
		{"POST", "/v1/admin/products", map[string]any{"sku": sku, "title": "Load test", "price_cents": 100}},
		{"PUT", "/v1/admin/products/" + sku + "/layout", map[string]any{"layout": layout}},
		{"POST", "/v1/admin/products/" + sku + "/inbound", map[string]any{"quantity": stock, "reference": "load-" + sku, "reason": "load test"}},
	} {
		if err := s.do(ctx, call.method, call.path, call.in, nil); err != nil {
			return err
		}
	}
	return nil
}

// UniqueName returns a product name that no earlier load has: prefix and the time.
func UniqueName(prefix string) string {
	return strings.ToUpper(prefix + "-" + strconv.FormatInt(time.Now().UnixMilli(), 36))
}

func (s *Shop) login(ctx context.Context, user, role string) (string, error) {
	var out struct {
		Token string `json:"token"`
	}
	err := s.do(ctx, "POST", "/v1/login", map[string]string{"user": user, "role": role}, &out)
	return out.Token, err
}

// layout returns the layout that the strategy needs.
func (s *Shop) layout(ctx context.Context, strategy string) (string, error) {
	var known struct {
		Default    string `json:"default"`
		Strategies []struct {
			Name   string `json:"name"`
			Layout string `json:"layout"`
		} `json:"strategies"`
	}
	if err := s.do(ctx, "GET", "/v1/admin/strategies", nil, &known); err != nil {
		return "", err
	}
	if strategy == "" {
		strategy = known.Default
	}
	for _, k := range known.Strategies {
		if k.Name == strategy {
			return k.Layout, nil
		}
	}
	return "", fmt.Errorf("there is no strategy %q", strategy)
}

// Audit audits both ledgers. Prepare must have succeeded.
func (s *Shop) Audit(ctx context.Context) (check.Report, error) {
	var r check.Report
	return r, s.do(ctx, "GET", "/v1/admin/audit", nil, &r)
}

func (s *Shop) do(ctx context.Context, method, path string, in, out any) (err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if in == nil {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+s.admin)
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode > 299 {
		var p struct{ Code, Detail string }
		_ = json.NewDecoder(res.Body).Decode(&p) // the status alone is sufficient
		return fmt.Errorf("%s %s: %s %s %s", method, path, res.Status, p.Code, p.Detail)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}
